// From what a sweep varies to its runs: a pure function.
#pragma once

#include <vector>

#include "launcher/sweep/sweep_plan.h"

namespace dualpath {

struct SweepGrid {
  SweepPlan plan;
  std::vector<RunConfig> configs;  // of plan.runs, in their order
};

// All combinations, each once: K and α are varied only for architectures that have them, α only
// where a budget is divided. A run's name does not depend on what else is varied: with K = 1
// dual_path is dual_single, expanded is wide. Cells whose FFN sizes cannot meet their budget are
// listed, not changed. What cannot run for other reasons goes to problems, with the names of the
// runs; then the grid is of no use.
// REQUIRES: config.run.model.vocab_size is settled.
SweepGrid expand_grid(const SweepConfig& config, ConfigProblems& problems);

// "dual_path-k4-a0.5-f8e7"
std::string name_of(const SweepCell& cell);

}  // namespace dualpath
