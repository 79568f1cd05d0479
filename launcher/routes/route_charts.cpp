#include "launcher/routes/route_charts.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "launcher/common/markup.h"

namespace dualpath {

namespace {

constexpr double width = 560, left = 70, right = 15;
constexpr double plot_width = width - left - right;

std::string text(double x, double y, std::string_view anchor, std::string_view words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", x, y, anchor,
                     escaped(words));
}

std::string line(double x1, double y1, double x2, double y2, std::string_view colour) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"var({})\"/>", x1, y1,
      x2, y2, colour);
}

std::string picture(double height, std::string_view label, const std::string& content) {
  return fmt::format("<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"{}\">{}</svg>\n",
                     width, height, escaped(label), content);
}

// Ticks 0, 0.25, ... 1 below a plot that ends at y.
std::string share_axis(double y, double top) {
  std::string svg;
  for (const double share : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    const double x = left + share * plot_width;
    svg += line(x, top, x, y, "--grid") + text(x, y + 16, "middle", fmt::format("{}", share));
  }
  return svg + text(left + plot_width / 2, y + 34, "middle", "deep share of a token's update");
}

}  // namespace

std::string density_picture(const RouteSummary& summary) {
  constexpr double row = 34, top = 8;
  const double bottom = top + row * static_cast<double>(summary.layers.size());
  std::string svg = share_axis(bottom, top);
  for (std::size_t layer = 0; layer < summary.layers.size(); ++layer) {
    const LayerFigures& figures = summary.layers[layer];
    const double base = top + row * static_cast<double>(layer + 1);
    svg += text(left - 8, base - 6, "end", fmt::format("layer {}", layer));
    svg += line(left, base, left + plot_width, base, "--axis");
    const std::vector<double>& density = figures.deep_share_density;
    const double peak = *std::ranges::max_element(density);
    if (peak <= 0) continue;
    std::string points = fmt::format("{:.1f},{:.1f}", left, base);
    const double bin = plot_width / static_cast<double>(density.size());
    for (std::size_t i = 0; i < density.size(); ++i) {
      const double y = base - (row - 5) * density[i] / peak,
                   x = left + bin * static_cast<double>(i);
      points += fmt::format(" {:.1f},{:.1f} {:.1f},{:.1f}", x, y, x + bin, y);
    }
    points += fmt::format(" {:.1f},{:.1f}", left + plot_width, base);
    svg += fmt::format(
        "<polygon points=\"{}\" fill=\"var(--series-0)\" fill-opacity=\"0.55\" "
        "stroke=\"var(--series-0)\"><title>layer {}: median {:.3f}</title></polygon>",
        points, layer, figures.deep_share_percentiles[2]);
  }
  return picture(bottom + 44, "Densities of the deep share by layer", svg);
}

std::string share_picture(const RouteSummary& summary) {
  constexpr double top = 12, height = 220, bottom = top + height;
  const auto x_of = [&](std::size_t layer) {
    const double step = plot_width / static_cast<double>(summary.layers.size());
    return left + step * (static_cast<double>(layer) + 0.5);
  };
  const auto y_of = [](double value) { return bottom - (value + 1) / 2 * height; };
  std::string svg;
  for (const double value : {-1.0, -0.5, 0.0, 0.5, 1.0})
    svg +=
        line(left, y_of(value), left + plot_width, y_of(value), value == 0 ? "--axis" : "--grid") +
        text(left - 8, y_of(value) + 4, "end", fmt::format("{}", value));
  std::string shares, cosines;
  for (std::size_t layer = 0; layer < summary.layers.size(); ++layer) {
    const LayerFigures& f = summary.layers[layer];
    const double x = x_of(layer);
    svg += text(x, bottom + 16, "middle", std::to_string(layer));
    if (std::isnan(f.all.deep_share)) continue;
    const double low = y_of(f.deep_share_percentiles[1]), high = y_of(f.deep_share_percentiles[3]);
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"10\" height=\"{:.1f}\" "
        "fill=\"var(--series-0)\" fill-opacity=\"0.3\"/>",
        x - 5, high, std::max(1.0, low - high));
    shares += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"var(--series-0)\">"
        "<title>layer {}: deep share {:.3f}</title></circle>",
        x, y_of(f.all.deep_share), layer, f.all.deep_share);
    cosines += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"8\" height=\"8\" "
        "fill=\"var(--series-1)\"><title>layer {}: cosine {:.3f}</title></rect>",
        x - 4, y_of(f.all.cosine) - 4, layer, f.all.cosine);
  }
  svg += shares + cosines + text(left + plot_width / 2, bottom + 34, "middle", "layer");
  return picture(bottom + 44, "Deep share and alignment by layer", svg);
}

std::string heat_table(const HeatMap& map) {
  std::string html = "<div class=\"scroll\"><table class=\"heat\"><thead><tr><th class=\"text\">" +
                     escaped(map.corner) + "</th>";
  for (const std::string& column : map.columns) html += "<th>" + escaped(column) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const HeatMap::Row& row : map.rows) {
    html += "<tr><td class=\"text\">" + escaped(row.name) + "</td>";
    for (const double value : row.values) {
      if (std::isnan(value)) {
        html += "<td></td>";
        continue;
      }
      const double share = std::clamp((value - map.low) / (map.high - map.low), 0.0, 1.0);
      html += fmt::format("<td style=\"--share:{:.0f}%\">{:.3f}</td>", 100 * share, value);
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace dualpath
