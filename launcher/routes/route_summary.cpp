#include "launcher/routes/route_summary.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace dualpath {

namespace {

constexpr std::size_t density_bins = 40;
constexpr float collapse = 0.05F;

// Sums over tokens, which means are made of.
class FigureSums {
 public:
  void add(const RouteTable& t, std::size_t layer, std::size_t token) {
    ++sums_.tokens;
    const auto value = [&](const std::vector<float>& column) {
      return static_cast<double>(t.at(column, layer, token));
    };
    const float share = t.at(t.deep_share, layer, token);
    sums_.gate_deep += value(t.gate_deep);
    sums_.gate_wide += value(t.gate_wide);
    sums_.gate_entropy += value(t.gate_entropy);
    sums_.deep_share += value(t.deep_share);
    sums_.cosine += value(t.cosine);
    sums_.expected_iterations += value(t.expected_iterations);
    sums_.input_norm += value(t.input_norm);
    sums_.deep_update_norm += value(t.deep_update_norm);
    sums_.wide_update_norm += value(t.wide_update_norm);
    sums_.collapsed_wide += share < collapse ? 1 : 0;
    sums_.collapsed_deep += share > 1 - collapse ? 1 : 0;
  }
  RouteFigures means() const {
    RouteFigures m = sums_;
    for (double* value : {&m.gate_deep, &m.gate_wide, &m.gate_entropy, &m.deep_share, &m.cosine,
                          &m.expected_iterations, &m.input_norm, &m.deep_update_norm,
                          &m.wide_update_norm, &m.collapsed_wide, &m.collapsed_deep})
      *value /= static_cast<double>(m.tokens);
    return m;
  }

 private:
  RouteFigures sums_;
};

std::vector<RouteFigures> means_of(const std::vector<FigureSums>& sums) {
  std::vector<RouteFigures> means;
  for (const FigureSums& s : sums) means.push_back(s.means());
  return means;
}

void add_deep_shares(const RouteTable& table, std::size_t layer, LayerFigures& figures) {
  const auto first = table.deep_share.begin() + static_cast<std::ptrdiff_t>(layer * table.tokens);
  std::vector<float> shares(first, first + static_cast<std::ptrdiff_t>(table.tokens));
  figures.deep_share_density.assign(density_bins, 0);
  if (std::isnan(shares.front())) {
    figures.deep_share_percentiles.fill(std::nan(""));
    return;
  }
  std::ranges::sort(shares);
  constexpr std::array<double, 5> percents = {0.05, 0.25, 0.5, 0.75, 0.95};
  for (std::size_t i = 0; i < percents.size(); ++i)
    figures.deep_share_percentiles[i] =
        shares[static_cast<std::size_t>(percents[i] * static_cast<double>(shares.size() - 1))];
  for (const float share : shares) {
    const auto bin = static_cast<std::size_t>(share * static_cast<float>(density_bins));
    figures.deep_share_density[std::min(bin, density_bins - 1)] +=
        1.0 / static_cast<double>(shares.size());
  }
}

void add_iterations(const RouteTable& table, std::size_t layer, LayerFigures& figures) {
  const std::size_t K = table.iterations, N = table.tokens;
  const auto value = [&](const std::vector<float>& column, std::size_t k, std::size_t t) {
    return static_cast<double>(column[(layer * K + k) * N + t]);
  };
  const auto mean = [&](const std::vector<float>& column, std::size_t k) {
    double sum = 0;
    for (std::size_t t = 0; t < N; ++t) sum += value(column, k, t);
    return sum / static_cast<double>(N);
  };
  for (std::size_t k = 0; k < K; ++k) {
    figures.mean_weight.push_back(mean(table.weights, k));
    figures.mean_q.push_back(mean(table.q, k));
    figures.mean_change.push_back(mean(table.changes, k));
  }
  for (std::size_t t = 0; t < N; ++t) {
    double entropy = 0;
    for (std::size_t k = 0; k < K; ++k) {
      const double weight = value(table.weights, k, t);
      if (!(weight <= 0)) entropy -= weight * std::log(weight);
    }
    figures.effective_iterations += std::exp(entropy) / static_cast<double>(N);
  }
}

LayerFigures summarize_layer(const RouteTable& table, const RouteTexts& texts, std::size_t layer) {
  FigureSums all;
  std::size_t buckets = 0;
  for (const std::int32_t position : table.positions)
    buckets = std::max(buckets, position_bucket(static_cast<std::size_t>(position)) + 1);
  std::vector<FigureSums> by_class(texts.classes.size()), by_corpus(texts.corpora.size()),
      by_position(buckets);
  for (std::size_t t = 0; t < table.tokens; ++t) {
    all.add(table, layer, t);
    by_class[table.classes[t]].add(table, layer, t);
    by_corpus[table.corpora[t]].add(table, layer, t);
    by_position[position_bucket(static_cast<std::size_t>(table.positions[t]))].add(table, layer, t);
  }
  LayerFigures figures{.all = all.means(),
                       .deep_share_percentiles = {},
                       .deep_share_density = {},
                       .mean_weight = {},
                       .mean_q = {},
                       .mean_change = {},
                       .by_class = means_of(by_class),
                       .by_corpus = means_of(by_corpus),
                       .by_position = means_of(by_position)};
  add_deep_shares(table, layer, figures);
  add_iterations(table, layer, figures);
  return figures;
}

Json to_json(const RouteFigures& f) {
  return {{"tokens", f.tokens},
          {"gate_deep", f.gate_deep},
          {"gate_wide", f.gate_wide},
          {"gate_entropy", f.gate_entropy},
          {"deep_share", f.deep_share},
          {"cosine", f.cosine},
          {"expected_iterations", f.expected_iterations},
          {"input_norm", f.input_norm},
          {"deep_update_norm", f.deep_update_norm},
          {"wide_update_norm", f.wide_update_norm},
          {"collapsed_wide", f.collapsed_wide},
          {"collapsed_deep", f.collapsed_deep}};
}

template <class NameOf>
Json groups(const std::vector<RouteFigures>& figures, const NameOf& name_of) {
  Json json = Json::object();
  for (std::size_t i = 0; i < figures.size(); ++i) {
    if (figures[i].tokens > 0) json[name_of(i)] = to_json(figures[i]);
  }
  return json;
}

}  // namespace

std::size_t position_bucket(std::size_t position) {
  return static_cast<std::size_t>(std::bit_width(position));
}

std::string position_bucket_name(std::size_t bucket) {
  if (bucket <= 1) return std::to_string(bucket);
  return fmt::format("{} to {}", std::size_t{1} << (bucket - 1), (std::size_t{1} << bucket) - 1);
}

RouteSummary summarize(const RouteTable& table, const RouteTexts& texts) {
  RouteSummary summary;
  for (std::size_t layer = 0; layer < table.layers; ++layer)
    summary.layers.push_back(summarize_layer(table, texts, layer));
  summary.class_tokens.assign(texts.classes.size(), 0);
  for (const std::uint8_t c : table.classes) ++summary.class_tokens[c];
  double scored = 0;
  for (const float nats : table.nats) {
    if (std::isnan(nats)) continue;
    summary.nats += static_cast<double>(nats);
    ++scored;
  }
  summary.nats /= std::max(1.0, scored);
  return summary;
}

Json to_json(const RouteSummary& summary, const RouteTexts& texts) {
  Json json = {{"nats", summary.nats}, {"layers", Json::array()}};
  for (const LayerFigures& layer : summary.layers) {
    Json j = to_json(layer.all);
    j["deep_share_percentiles_5_25_50_75_95"] = layer.deep_share_percentiles;
    j["deep_share_density"] = layer.deep_share_density;
    j["effective_iterations"] = layer.effective_iterations;
    j["mixture_weight"] = layer.mean_weight;
    j["q"] = layer.mean_q;
    j["change"] = layer.mean_change;
    j["classes"] = groups(layer.by_class, [&](std::size_t i) { return texts.classes[i]; });
    j["corpora"] = groups(layer.by_corpus, [&](std::size_t i) { return texts.corpora[i]; });
    j["positions"] = groups(layer.by_position, position_bucket_name);
    json["layers"].push_back(std::move(j));
  }
  return json;
}

}  // namespace dualpath
