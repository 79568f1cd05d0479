#include "launcher/sweep/sweep_results.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <set>

#include "launcher/common/text_format.h"

namespace dualpath {

namespace {

// The spread over the finished runs that have the value.
std::optional<Spread> spread_over(const SeedGroup& group,
                                  std::optional<double> RunHistory::*value) {
  std::vector<double> values;
  for (const RunResult* result : group.runs) {
    const std::optional<double>& v = result->history.*value;
    if (result->status.state == RunState::finished && v) values.push_back(*v);
  }
  return values.empty() ? std::nullopt : std::optional(spread_of(values));
}

bool differ_in_seed_alone(const SweepRun& a, const SweepRun& b) {
  return a.cell == b.cell && a.training_flops == b.training_flops &&
         a.learning_rate == b.learning_rate;
}

std::vector<BudgetResults> group_by_budget(const std::vector<RunResult>& runs) {
  std::map<Budget, std::vector<SeedGroup>> budgets;
  for (const RunResult& result : runs) {
    std::vector<SeedGroup>& groups = budgets[budget_of(result.run)];
    const auto it = std::ranges::find_if(groups, [&](const SeedGroup& group) {
      return differ_in_seed_alone(group.any_run(), result.run);
    });
    if (it == groups.end()) {
      groups.push_back({{&result}});
    } else {
      it->runs.push_back(&result);
    }
  }
  std::vector<BudgetResults> results;
  for (auto& [budget, groups] : budgets) results.push_back({budget, std::move(groups)});
  return results;
}

std::string variables_text(double deep_share, std::int64_t iterations) {
  std::string text;
  if (deep_share > 0) text += fmt::format(", α {:g}", deep_share);
  if (iterations > 0) text += fmt::format(", K {}", iterations);
  return text;
}

void name_groups(BudgetResults& results) {
  std::set<double> learning_rates, layer_budgets;
  for (const SeedGroup& group : results.groups) {
    learning_rates.insert(group.any_run().learning_rate);
    layer_budgets.insert(group.any_run().cell.layer_flop_budget);
  }
  results.varies_layer_budget = layer_budgets.size() > 1;
  results.varies_learning_rate = learning_rates.size() > 1;
  for (SeedGroup& group : results.groups) {
    const SweepRun& run = group.any_run();
    group.name = enum_name(run.cell.architecture);
    group.name += variables_text(run.cell.deep_share, run.cell.iterations);
    if (layer_budgets.size() > 1) group.name += ", F " + scaled(run.cell.layer_flop_budget);
    if (results.varies_learning_rate) group.name += fmt::format(", lr {:g}", run.learning_rate);
  }
}

void mark_best(const SweepResults& results, BudgetResults& budget) {
  SeedGroup* best = nullptr;
  for (SeedGroup& group : budget.groups) {
    const auto& loss = results.loss(group);
    if (loss && (best == nullptr || loss->mean < results.loss(*best)->mean)) best = &group;
  }
  if (best != nullptr) best->is_best = true;
}

using Groups = std::vector<const SeedGroup*>;

// Among models that differ in their learning rate alone: the one with the lowest loss.
Groups best_rates(const SweepResults& results, const BudgetResults& budget) {
  Groups best;
  for (const SeedGroup& group : budget.groups) {
    if (!results.loss(group)) continue;
    const auto same = std::ranges::find_if(best, [&](const SeedGroup* other) {
      return other->any_run().cell == group.any_run().cell;
    });
    if (same == best.end()) {
      best.push_back(&group);
    } else if (results.loss(group)->mean < results.loss(**same)->mean) {
      *same = &group;
    }
  }
  return best;
}

// K and α that the models of a curve have in common; 0: what they differ in, or do not have.
struct SharedVariables {
  std::int64_t iterations = 0;
  double deep_share = 0;
  auto operator<=>(const SharedVariables&) const = default;
};

// An architecture's models by what they share, such that one thing alone varies among them.
std::map<SharedVariables, Groups> split(const Groups& models) {
  std::set<double> layer_budgets;
  std::set<std::int64_t> iterations;
  for (const SeedGroup* model : models) {
    layer_budgets.insert(model->any_run().cell.layer_flop_budget);
    iterations.insert(model->any_run().cell.iterations);
  }
  const bool varies_layers = layer_budgets.size() > 1;
  const bool varies_shares = iterations.size() < models.size();
  std::map<SharedVariables, Groups> parts;
  for (const SeedGroup* model : models) {
    const SweepCell& cell = model->any_run().cell;
    SharedVariables shared;
    if (varies_layers || varies_shares) shared.iterations = cell.iterations;
    if (varies_layers) shared.deep_share = cell.deep_share;
    parts[shared].push_back(model);
  }
  return parts;
}

void fit(const SweepResults& results, IsoFlopCurve& curve) {
  std::vector<double> sizes, losses;
  for (const SeedGroup* point : curve.points) {
    sizes.push_back(std::log10(static_cast<double>(point->any_run().parameters)));
    losses.push_back(results.loss(*point)->mean);
  }
  curve.fit = fit_parabola(sizes, losses);
}

}  // namespace

Budget budget_of(const SweepRun& run) {
  if (run.training_flops > 0) return {.training_flops = run.training_flops};
  return {.layer_flops = run.cell.layer_flop_budget};
}

std::string text_of(const Budget& budget) {
  if (budget.training_flops > 0) return scaled(budget.training_flops) + " FLOPs of training";
  if (budget.layer_flops > 0) return scaled(budget.layer_flops) + " FLOPs per token and layer";
  return "";
}

std::string at_budget(std::string_view what, const Budget& budget) {
  const std::string text = text_of(budget);
  return text.empty() ? std::string(what) : fmt::format("{}, {}", what, text);
}

SweepResults compare_runs(std::vector<RunResult> runs, std::vector<InfeasibleCell> infeasible) {
  SweepResults results{std::move(runs), std::move(infeasible)};
  results.budgets = group_by_budget(results.runs);
  for (BudgetResults& budget : results.budgets) {
    name_groups(budget);
    for (SeedGroup& group : budget.groups) {
      group.training_loss = spread_over(group, &RunHistory::training_loss);
      group.validation_loss = spread_over(group, &RunHistory::validation_loss);
      group.bits_per_byte = spread_over(group, &RunHistory::bits_per_byte);
      results.has_validation |= group.validation_loss.has_value();
    }
  }
  for (BudgetResults& budget : results.budgets) mark_best(results, budget);
  return results;
}

SweepResults read_sweep_results(const std::filesystem::path& folder) {
  SweepPlan plan = read_sweep_plan(folder);
  std::vector<RunResult> runs;
  for (SweepRun& run : plan.runs) {
    const std::filesystem::path path = run_folder(folder, run.name);
    runs.push_back({std::move(run), run_status(path), read_history(path / "metrics.jsonl")});
  }
  return compare_runs(std::move(runs), std::move(plan.infeasible));
}

std::vector<IsoFlopCurve> iso_flop_curves(const SweepResults& results,
                                          const BudgetResults& budget) {
  std::map<SweepArchitecture, Groups> by_architecture;
  for (const SeedGroup* group : best_rates(results, budget))
    by_architecture[group->any_run().cell.architecture].push_back(group);
  std::vector<IsoFlopCurve> curves;
  for (const auto& [architecture, groups] : by_architecture) {
    for (auto& [shared, points] : split(groups)) {
      std::ranges::sort(points, {},
                        [](const SeedGroup* group) { return group->any_run().parameters; });
      IsoFlopCurve& curve = curves.emplace_back();
      curve.name = enum_name(architecture) + variables_text(shared.deep_share, shared.iterations);
      curve.points = std::move(points);
      fit(results, curve);
    }
  }
  return curves;
}

}  // namespace dualpath
