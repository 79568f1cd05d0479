#include "launcher/sweep/report_charts.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include "launcher/common/text_format.h"

namespace dualpath {

namespace {

constexpr std::size_t points_of_a_whole_curve = 150;
constexpr std::size_t points_of_a_late_curve = 50;

std::string loss_label(const SweepResults& results) {
  return results.has_validation ? "validation loss, nats a token" : "training loss, nats a token";
}

double parameters(const SeedGroup& group) {
  return static_cast<double>(group.any_run().parameters);
}

void add_point(Series& series, double x, const Spread& loss) {
  series.x.push_back(x);
  series.y.push_back(loss.mean);
  series.error.push_back(loss.deviation);
}

std::string short_text_of(const Budget& budget) {
  const double flops = std::max(budget.training_flops, budget.layer_flops);
  return flops > 0 ? scaled(flops) : "no budget";
}

// Bars of no length say nothing.
void drop_empty_errors(Chart& chart) {
  for (Series& series : chart.series)
    if (std::ranges::all_of(series.error, [](double e) { return e == 0; })) series.error.clear();
}

// Points that no line joins: what they differ in is not on the axis.
Series curve_series(const SweepResults& results, const IsoFlopCurve& curve) {
  Series series{.name = curve.name, .style = Series::Style::points};
  for (const SeedGroup* group : curve.points)
    add_point(series, parameters(*group), *results.loss(*group));
  return series;
}

// The fit, from the smallest to the largest size.
void add_fit(Chart& chart, const IsoFlopCurve& curve, std::size_t colour) {
  constexpr int steps = 40;
  const double low = std::log10(parameters(*curve.points.front()));
  const double high = std::log10(parameters(*curve.points.back()));
  const Parabola& parabola = *curve.fit.parabola;
  Series line{.colour = colour, .style = Series::Style::line};
  for (int i = 0; i <= steps; ++i) {
    const double x = low + (high - low) * i / steps;
    line.x.push_back(std::pow(10, x));
    line.y.push_back(parabola.at(x));
  }
  chart.series.push_back(std::move(line));
}

// What the sweep varies in dual paths: α, or K.
struct Variable {
  const char* title;
  const char* label;
  double (*of)(const SweepCell&);
  std::string (*other)(const SweepCell&);  // the name of a series
};
constexpr Variable share = {"Loss against α", "α, the share of the FLOPs meant for the deep path",
                            [](const SweepCell& cell) { return cell.deep_share; },
                            [](const SweepCell& cell) {
                              return fmt::format("{}, K {}", enum_name(cell.architecture),
                                                 cell.iterations);
                            }};
constexpr Variable iterations = {
    "Loss against K", "K, iterations of the deep path",
    [](const SweepCell& cell) { return static_cast<double>(cell.iterations); },
    [](const SweepCell& cell) {
      const bool is_single = cell.architecture == SweepArchitecture::dual_single;  // K = 1
      std::string name = enum_name(is_single ? SweepArchitecture::dual_path : cell.architecture);
      if (cell.deep_share > 0) name += fmt::format(", α {:g}", cell.deep_share);
      return name;
    }};

// Models of a series differ in the variable alone, and those of another F are another series. It
// has two points at least.
Chart variable_chart(const SweepResults& results, const BudgetResults& budget,
                     const std::vector<IsoFlopCurve>& curves, const Variable& variable) {
  std::map<std::string, std::map<double, const SeedGroup*>> series;
  for (const IsoFlopCurve& curve : curves) {
    for (const SeedGroup* group : curve.points) {
      const SweepCell& cell = group->any_run().cell;
      if (variable.of(cell) <= 0) continue;
      std::string name = variable.other(cell);
      if (budget.varies_layer_budget) name += ", F " + scaled(cell.layer_flop_budget);
      series[name][variable.of(cell)] = group;
    }
  }
  std::erase_if(series, [](const auto& named) { return named.second.size() < 2; });
  Chart chart{.title = at_budget(variable.title, budget.budget),
              .x_label = variable.label,
              .y_label = loss_label(results)};
  const bool shares_names = std::ranges::any_of(
      curves, [&](const IsoFlopCurve& curve) { return series.contains(curve.name); });
  for (const auto& [name, points] : series) {
    // The colour that a curve of this name has beside it.
    const auto curve = std::ranges::find(curves, name, &IsoFlopCurve::name);
    const auto other = (shares_names ? curves.size() : 0) + chart.series.size();
    const auto colour =
        curve == curves.end() ? other : static_cast<std::size_t>(curve - curves.begin());
    chart.series.push_back({.name = name, .colour = colour});
    for (const auto& [x, group] : points) add_point(chart.series.back(), x, *results.loss(*group));
  }
  drop_empty_errors(chart);
  return chart;
}

void add_unless_empty(std::vector<Chart>& charts, Chart chart) {
  if (!chart.series.empty()) charts.push_back(std::move(chart));
}

TokenCurve after(const TokenCurve& curve, double tokens) {
  const auto skipped = std::ranges::lower_bound(curve.tokens, tokens) - curve.tokens.begin();
  return {{curve.tokens.begin() + skipped, curve.tokens.end()},
          {curve.values.begin() + skipped, curve.values.end()}};
}

// The values that are numbers; layers are counted from 0.
Series layer_series(const std::vector<double>& values) {
  Series series;
  for (std::size_t layer = 0; layer < values.size(); ++layer) {
    if (!std::isfinite(values[layer])) continue;
    series.x.push_back(static_cast<double>(layer));
    series.y.push_back(values[layer]);
  }
  return series;
}

}  // namespace

std::vector<Chart> size_charts(const SweepResults& results) {
  if (results.budgets.size() < 2) return {};
  Chart chart{.title = "Loss against parameters",
              .x_label = "parameters",
              .y_label = loss_label(results),
              .logarithmic_x = true};
  std::map<std::string, std::size_t> colours;  // of curves that budgets have in common
  const std::size_t num_budgets = results.budgets.size();
  for (std::size_t i = 0; i < num_budgets; ++i) {
    for (const IsoFlopCurve& curve : iso_flop_curves(results, results.budgets[i])) {
      Series series = curve_series(results, curve);
      const std::size_t colour = colours.emplace(curve.name, colours.size()).first->second;
      // Budgets differ in their points.
      const std::size_t round = colour / num_chart_colours * num_budgets + i;
      series.colour = colour % num_chart_colours + round * num_chart_colours;
      series.name += fmt::format(" ({})", short_text_of(results.budgets[i].budget));
      chart.series.push_back(std::move(series));
    }
  }
  drop_empty_errors(chart);
  std::vector<Chart> charts;
  add_unless_empty(charts, std::move(chart));
  return charts;
}

std::vector<Chart> iso_flop_charts(const SweepResults& results, const BudgetResults& budget) {
  const std::vector<IsoFlopCurve> curves = iso_flop_curves(results, budget);
  Chart chart{.title = at_budget("Loss against parameters", budget.budget),
              .x_label = "parameters",
              .y_label = loss_label(results),
              .logarithmic_x = true};
  std::size_t colour = 0;
  for (const IsoFlopCurve& curve : curves) {
    Series points = curve_series(results, curve);
    points.colour = colour;
    if (curve.fit.parabola) add_fit(chart, curve, colour);
    chart.series.push_back(std::move(points));
    ++colour;
  }
  drop_empty_errors(chart);
  std::vector<Chart> charts;
  add_unless_empty(charts, std::move(chart));
  Chart other = variable_chart(results, budget, curves, share);
  if (other.series.empty()) other = variable_chart(results, budget, curves, iterations);
  add_unless_empty(charts, std::move(other));
  return charts;
}

std::vector<Chart> loss_charts(const BudgetResults& budget) {
  const std::string title = at_budget("Training loss", budget.budget);
  Chart whole{.title = title,
              .x_label = "tokens",
              .y_label = "training loss, nats a token",
              .logarithmic_x = true};
  Chart late = whole;
  late.title += ", from a tenth on";
  for (std::size_t i = 0; i < budget.groups.size(); ++i) {
    const SeedGroup& group = budget.groups[i];
    for (const RunResult* run : group.runs) {
      const auto add = [&](Chart& chart, const TokenCurve& curve) {
        if (curve.tokens.empty()) return;
        // Seeds share a colour, and a line in the legend.
        const bool named = std::ranges::any_of(
            chart.series, [&](const Series& other) { return other.name == group.name; });
        chart.series.push_back({.name = named ? "" : group.name,
                                .colour = i,
                                .style = Series::Style::line,
                                .x = curve.tokens,
                                .y = curve.values});
      };
      const TokenCurve& curve = run->history.training;
      add(whole, thinned(curve, points_of_a_whole_curve));
      add(late,
          thinned(after(curve, static_cast<double>(run->run.tokens) / 10), points_of_a_late_curve));
    }
  }
  std::vector<Chart> charts;
  add_unless_empty(charts, std::move(whole));
  add_unless_empty(charts, std::move(late));
  return charts;
}

LayerReadouts mean_readouts(const SeedGroup& group) {
  LayerReadouts means;
  for (std::size_t i = 0; i < readouts.size(); ++i) {
    double count = 0;
    for (const RunResult* run : group.runs) {
      const std::vector<double>& values = run->history.layers[i];
      if (run->status.state != RunState::finished || values.empty()) continue;
      means[i].resize(values.size(), 0);
      for (std::size_t layer = 0; layer < values.size(); ++layer) means[i][layer] += values[layer];
      ++count;
    }
    for (double& mean : means[i]) mean /= count;
  }
  return means;
}

std::vector<Chart> layer_charts(const BudgetResults& budget) {
  std::vector<Chart> charts;
  for (std::size_t i = 0; i < readouts.size(); ++i) {
    Chart chart{.title = at_budget(readouts[i].title, budget.budget),
                .x_label = "layer",
                .y_label = readouts[i].unit};
    for (std::size_t g = 0; g < budget.groups.size(); ++g) {
      Series series = layer_series(mean_readouts(budget.groups[g])[i]);
      if (series.x.empty()) continue;
      series.name = budget.groups[g].name;
      series.colour = g;
      chart.series.push_back(std::move(series));
    }
    add_unless_empty(charts, std::move(chart));
  }
  return charts;
}

}  // namespace dualpath
