// The pictures of a sweep's report.
#pragma once

#include <vector>

#include "launcher/sweep/chart.h"
#include "launcher/sweep/sweep_results.h"

namespace dualpath {

// Each is left out where there is nothing to draw.

// Loss against parameters, of all budgets where there are several.
std::vector<Chart> size_charts(const SweepResults& results);
// The same of one budget, with the fitted curves; then against α, or against K where α does not
// vary.
std::vector<Chart> iso_flop_charts(const SweepResults& results, const BudgetResults& budget);
// Training loss of every run that has made a step, against tokens: all of it, and without the
// first tenth.
std::vector<Chart> loss_charts(const BudgetResults& budget);
// Gates and paths by layer, means over the seeds that have finished.
std::vector<Chart> layer_charts(const BudgetResults& budget);

// Means over the finished runs of a group that have read-outs.
LayerReadouts mean_readouts(const SeedGroup& group);

}  // namespace dualpath
