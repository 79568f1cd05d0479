#include "launcher/config/config_warnings.h"

#include <cmath>
#include <fmt/format.h>

namespace dualpath {

namespace {

// 0 where it follows from FLOPs, or from a model that is not known yet.
double steps_of(const RunConfig& config) {
  const TrainConfig& train = config.train;
  if (train.steps > 0) return static_cast<double>(train.steps);
  return std::ceil(static_cast<double>(train.tokens) /
                   static_cast<double>(train.global_batch_size * config.model.sequence_length));
}

}  // namespace

std::vector<std::string> config_warnings(const RunConfig& config) {
  std::vector<std::string> warnings;
  const OptimizerConfig& optimizer = config.optimizer;
  const double steps = steps_of(config);
  // No refusal: a real configuration is tried for a few steps before its run.
  if (steps > 0 && static_cast<double>(optimizer.warmup_steps) >= steps) {
    warnings.push_back(fmt::format(
        "optimizer.warmup_steps ({}) is not below the run's {} steps: the learning rate reaches "
        "its peak, optimizer.lr, at the last step or not at all",
        optimizer.warmup_steps, steps));
  }
  return warnings;
}

}  // namespace dualpath
