// Learning rate as a pure function of the step.
#pragma once

#include <cstdint>

#include "model/optimizer_config.h"

namespace dualpath {

// Rate of step `step` (the first is 1) of `total_steps`. Rises linearly from start_lr to lr in
// warmup_steps, so that step warmup_steps has lr; then
//   cosine    falls to min_lr on half a cosine, reached at the last step
//   linear    falls to min_lr on a line
//   wsd       stays at lr, then falls on a line in the last decay_fraction of all steps
//   constant  stays at lr
double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps);

}  // namespace dualpath
