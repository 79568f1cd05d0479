#include "launcher/routes/route_page.h"

#include <algorithm>
#include <cmath>

#include "launcher/common/markup.h"
#include "launcher/common/report_style.h"
#include "launcher/common/text_format.h"
#include "launcher/evaluate/sampling.h"
#include "launcher/routes/route_charts.h"

namespace dualpath {

namespace {

constexpr std::size_t coloured_tokens = 600;

constexpr const char* route_style = R"(
figure { max-width: 44rem; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
.heat td { background: color-mix(in srgb, var(--series-0) calc(var(--share, 0%) * 0.6), var(--background)); }
.heat td:first-child { background: var(--background); }
.tokens { font: 1rem/1.9 ui-serif, serif; overflow-wrap: anywhere; }
.tokens span {
  white-space: pre-wrap; padding: 0.1rem 0; position: relative; cursor: help; color: var(--text);
  background: color-mix(in srgb, color-mix(in srgb, var(--series-0) var(--share), var(--series-1)) 45%, var(--background));
}
.tokens span:hover::after, .tokens span:focus::after {
  content: attr(data-figures); position: absolute; left: 0; top: 100%; z-index: 1; white-space: pre;
  padding: 0.3rem 0.6rem; font: 0.8rem/1.4 system-ui, sans-serif; border: 1px solid var(--line);
  background: var(--background); color: var(--text);
}
.tokens span:focus { outline: 2px solid var(--text); }
)";

// Columns "layer 0", "layer 1", ...
std::vector<std::string> layer_columns(const RouteSummary& summary) {
  std::vector<std::string> columns;
  for (std::size_t layer = 0; layer < summary.layers.size(); ++layer)
    columns.push_back(fmt::format("layer {}", layer));
  return columns;
}

std::string figures_by_layer(const RouteSummary& summary) {
  HeatMap map{"", layer_columns(summary), {}, 0, 1};
  const auto add = [&](const char* name, const auto& figure) {
    HeatMap::Row row{name, {}};
    for (const LayerFigures& layer : summary.layers) row.values.push_back(figure(layer));
    map.rows.push_back(std::move(row));
  };
  std::string html;
  add("deep gate", [](const LayerFigures& l) { return l.all.gate_deep; });
  add("wide gate", [](const LayerFigures& l) { return l.all.gate_wide; });
  add("gate entropy / ln 2",
      [](const LayerFigures& l) { return l.all.gate_entropy / std::log(2.0); });
  add("deep share", [](const LayerFigures& l) { return l.all.deep_share; });
  add("collapsed to wide", [](const LayerFigures& l) { return l.all.collapsed_wide; });
  add("collapsed to deep", [](const LayerFigures& l) { return l.all.collapsed_deep; });
  html += heat_table(map);
  map.rows.clear();
  map.high = static_cast<double>(std::max<std::size_t>(2, summary.layers[0].mean_weight.size()));
  map.low = 1;
  add("expected iterations", [](const LayerFigures& l) { return l.all.expected_iterations; });
  add("effective iterations", [](const LayerFigures& l) { return l.effective_iterations; });
  return html + heat_table(map);
}

// The values of the lightest and the darkest cells.
struct Shades {
  double low, high;
};

// A row for each group of tokens, a column for each layer.
template <class Groups, class Figure>
std::string by_group(const RoutePage& page, const char* corner,
                     const std::vector<std::string>& names, const Groups& groups,
                     const Figure& figure, Shades shades) {
  HeatMap map{corner, layer_columns(page.summary), {}, shades.low, shades.high};
  for (std::size_t i = 0; i < names.size(); ++i) {
    HeatMap::Row row{names[i], {}};
    std::size_t tokens = 0;
    for (const LayerFigures& layer : page.summary.layers) {
      const RouteFigures& figures = groups(layer)[i];
      tokens = figures.tokens;
      row.values.push_back(figures.tokens == 0 ? std::nan("") : figure(figures));
    }
    row.name += fmt::format(" ({})", grouped(tokens));
    if (tokens > 0) map.rows.push_back(std::move(row));
  }
  return heat_table(map);
}

double mean_over_layers(const RouteTable& table, const std::vector<float>& column,
                        std::size_t token) {
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t layer = 0; layer < table.layers; ++layer) {
    const float value = table.at(column, layer, token);
    if (std::isnan(value)) continue;
    sum += static_cast<double>(value);
    ++count;
  }
  return count == 0 ? std::nan("") : sum / static_cast<double>(count);
}

// Classes by their mean deep share over all layers, the deepest first; what the paper says of the
// tags (arXiv 2605.30202: it forces NUM and SYM wide; ADJ, ADV, PART, PRON and VERB deep).
std::string ranking(const RoutePage& page) {
  struct Entry {
    std::string name;
    double share;
    std::size_t tokens;
  };
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < page.texts.classes.size(); ++i) {
    double sum = 0, count = 0;
    for (const LayerFigures& layer : page.summary.layers) {
      const RouteFigures& f = layer.by_class[i];
      if (f.tokens == 0 || std::isnan(f.deep_share)) continue;
      sum += f.deep_share;
      ++count;
    }
    if (count > 0)
      entries.push_back({page.texts.classes[i], sum / count, page.summary.class_tokens[i]});
  }
  std::ranges::stable_sort(entries, std::greater<>(), &Entry::share);
  const auto paper = [](const std::string& name) {
    if (name == "NUM" || name == "SYM" || name == "number" || name == "symbol") return "wide";
    for (const char* deep : {"ADJ", "ADV", "PART", "PRON", "VERB"}) {
      if (name == deep) return "deep";
    }
    return "";
  };
  std::string html =
      "<div class=\"scroll\"><table><thead><tr><th class=\"text\">class</th><th>deep share</th>"
      "<th>tokens</th><th class=\"text\">the paper sends it</th></tr></thead><tbody>\n";
  for (const Entry& e : entries)
    html += fmt::format(
        "<tr><td class=\"text\">{}</td><td>{:.3f}</td><td>{}</td>"
        "<td class=\"text\">{}</td></tr>\n",
        escaped(e.name), e.share, grouped(e.tokens), paper(e.name));
  return html + "</tbody></table></div>\n";
}

// Colours go from the 5th to the 95th percentile of the deep shares shown.
Shades colour_range(const RouteTable& table, std::size_t tokens) {
  std::vector<double> shares;
  for (std::size_t t = 0; t < tokens; ++t) {
    const double share = mean_over_layers(table, table.deep_share, t);
    if (!std::isnan(share)) shares.push_back(share);
  }
  if (shares.empty()) return {0, 1};
  std::ranges::sort(shares);
  const double low = shares[shares.size() / 20],
               high = shares[shares.size() - 1 - shares.size() / 20];
  return {low, std::max(high, low + 1e-3)};
}

// The first texts, each token in the colour of its deep share.
std::string coloured_text(const RoutePage& page) {
  const RouteTable& table = page.table;
  std::string html = "<p class=\"tokens\">";
  std::string pending;  // bytes of a character that the next token ends
  const std::size_t end = std::min(coloured_tokens, table.tokens);
  const Shades range = colour_range(table, end);
  for (std::size_t t = 0; t < end; ++t) {
    const auto id = static_cast<std::uint32_t>(table.ids[t]);
    if (id == page.tokenizer.end_of_text()) {
      if (t > 0) html += "</p>\n<p class=\"tokens\">";
      continue;
    }
    pending += page.tokenizer.decode(std::span(&id, 1));
    const std::string shown = pending.substr(0, whole_characters(pending));
    pending.erase(0, shown.size());
    const double share = mean_over_layers(table, table.deep_share, t);
    const double iterations = mean_over_layers(table, table.expected_iterations, t);
    html += fmt::format(
        "<span tabindex=\"0\" style=\"--share:{:.0f}%\" data-figures=\"deep share "
        "{:.3f}&#10;iterations "
        "{:.2f}&#10;{}\">{}</span>",
        std::isnan(share)
            ? 50
            : 100 * std::clamp((share - range.low) / (range.high - range.low), 0.0, 1.0),
        share, iterations, escaped(page.texts.classes[table.classes[t]]), escaped(shown));
  }
  return html + "</p>\n";
}

std::string section(const char* title, const std::string& words, const std::string& content) {
  return fmt::format("<h2>{}</h2>\n<p>{}</p>\n{}", title, words, content);
}

std::string position_names_and_table(const RoutePage& page) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < page.summary.layers[0].by_position.size(); ++i)
    names.push_back(position_bucket_name(i));
  return by_group(
      page, "position", names, [](const LayerFigures& l) -> const auto& { return l.by_position; },
      [](const RouteFigures& f) { return f.deep_share; }, {0, 1});
}

}  // namespace

std::string route_page(const RoutePage& page) {
  const auto classes = [](const LayerFigures& l) -> const auto& {
    return l.by_class;
  };
  const auto corpora = [](const LayerFigures& l) -> const auto& {
    return l.by_corpus;
  };
  const auto share = [](const RouteFigures& f) { return f.deep_share; };
  const auto iterations = [](const RouteFigures& f) { return f.expected_iterations; };
  const auto most = static_cast<double>(std::max<std::size_t>(2, page.table.iterations));
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>Routes of {0}</title>\n<link rel=\"icon\" "
      "href=\"data:,\">\n<style>{1}{2}</style></head>"
      "<body>\n<h1>Routes of {0}</h1>\n<p>{3} tokens, {4} layers, {5} iterations; {6:.4f} nats a "
      "token.</p>\n",
      escaped(page.model), report_style, route_style, grouped(page.table.tokens), page.table.layers,
      page.table.iterations, page.summary.nats);
  html += section(
      "Layers",
      "Means over tokens. The deep share of a token is "
      "g_d‖Δ_d‖ / (g_d‖Δ_d‖ + g_w‖Δ_w‖), Δ the update of a path. A token has collapsed where "
      "its deep share is below 0.05 (to wide) or above 0.95 (to deep). Effective iterations: "
      "exp of the entropy of the mixture.",
      figures_by_layer(page.summary));
  html += section("Deep share by layer", "Each density has its own height.",
                  "<figure>" + density_picture(page.summary) + "</figure>\n");
  html += section("Deep share and alignment",
                  "Discs: mean deep share, bars its quartiles. Squares: mean cosine between both "
                  "paths' updates.",
                  "<figure>" + share_picture(page.summary) + "</figure>\n");
  html += section("Classes of tokens, from deep to wide", "Deep share, mean over layers.",
                  ranking(page));
  html += section("Deep share by class and layer", "In brackets: tokens.",
                  by_group(page, "class", page.texts.classes, classes, share, {0, 1}));
  if (page.table.iterations > 0)
    html += section("Expected iterations by class and layer", "Σ k · weight of iteration k.",
                    by_group(page, "class", page.texts.classes, classes, iterations, {1, most}));
  html += section("Deep share by corpus", "",
                  by_group(page, "corpus", page.texts.corpora, corpora, share, {0, 1}));
  html += section("Deep share by position", "Within the sequence that the model reads.",
                  position_names_and_table(page));
  html +=
      section("A text",
              "The colour tells the deep share, mean over layers, from orange (the lowest of these "
              "tokens) to blue (the highest). "
              "Point at a token or tap it for its figures.",
              coloured_text(page));
  return html + "</body></html>\n";
}

}  // namespace dualpath
