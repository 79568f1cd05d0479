// What a sweep has come to: its runs with their histories, put together over seeds and compared at
// equal budget.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launcher/sweep/run_history.h"
#include "launcher/sweep/statistics.h"
#include "launcher/sweep/sweep_folder.h"

namespace dualpath {

struct RunResult {
  SweepRun run;
  RunStatus status;
  RunHistory history;
};

// What runs are compared at: a run's training FLOPs where the sweep gives them, else its layers'
// FLOPs per token, else nothing.
struct Budget {
  double training_flops = 0;
  double layer_flops = 0;  // 0 beside training_flops
  auto operator<=>(const Budget&) const = default;
};
Budget budget_of(const SweepRun& run);
// "80M FLOPs per token and layer"; "" where there is none.
std::string text_of(const Budget& budget);
// "what, 80M FLOPs per token and layer"
std::string at_budget(std::string_view what, const Budget& budget);

// Runs that differ in their seed alone. Spreads are of those that have finished.
struct SeedGroup {
  std::vector<const RunResult*> runs;  // at least one
  std::optional<Spread> training_loss = {};
  std::optional<Spread> validation_loss = {};
  std::optional<Spread> bits_per_byte = {};
  bool is_best = false;   // of its budget, by loss()
  std::string name = {};  // among the groups of its budget: "dual_path, α 0.5, K 4"

  const SweepRun& any_run() const { return runs.front()->run; }
};

struct BudgetResults {
  Budget budget;
  std::vector<SeedGroup> groups = {};  // in the sweep's order
  bool varies_layer_budget = false;
  bool varies_learning_rate = false;
};

struct SweepResults {
  std::vector<RunResult> runs = {};
  std::vector<InfeasibleCell> infeasible = {};
  // Validation loss, or where no finished run has one, training loss is what is compared.
  bool has_validation = false;
  std::vector<BudgetResults> budgets = {};  // ascending; they point into runs

  const std::optional<Spread>& loss(const SeedGroup& group) const {
    return has_validation ? group.validation_loss : group.training_loss;
  }
};

SweepResults compare_runs(std::vector<RunResult> runs, std::vector<InfeasibleCell> infeasible);

// Reads a sweep's folder. Throws Error(checkpoint).
SweepResults read_sweep_results(const std::filesystem::path& folder);

// Models of one budget and architecture that differ in size, the smallest first, by one thing
// alone: by F where it varies, one curve for each K and α; else by α, one for each K; else by K. Of
// several learning rates the best is taken.
struct IsoFlopCurve {
  std::string name = {};  // "dual_path, K 4"; where F varies "dual_path, α 0.5, K 4"
  std::vector<const SeedGroup*> points = {};  // that have a loss; at least one
  ParabolaFit fit = {};                       // of the loss against log10 of the parameters
};
std::vector<IsoFlopCurve> iso_flop_curves(const SweepResults& results, const BudgetResults& budget);

}  // namespace dualpath
