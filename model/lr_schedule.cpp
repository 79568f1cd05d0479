#include "model/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dualpath {

namespace {

// How far `step` has come on the way from `begin` to `end`, in [0, 1]. Of no way, `begin` is not
// yet the end: a warm-up as long as the run ends at the peak.
double progress(std::int64_t step, double begin, double end) {
  if (end <= begin) return static_cast<double>(step) > begin ? 1 : 0;
  return std::clamp((static_cast<double>(step) - begin) / (end - begin), 0.0, 1.0);
}

}  // namespace

double learning_rate(const OptimizerConfig& c, std::int64_t step, std::int64_t total_steps) {
  if (step < c.warmup_steps) {
    return c.start_lr +
           (c.lr - c.start_lr) * static_cast<double>(step) / static_cast<double>(c.warmup_steps);
  }
  const auto end = static_cast<double>(total_steps);
  const auto warm = static_cast<double>(c.warmup_steps);
  const auto fall = [&](double share) { return c.lr + (c.min_lr - c.lr) * share; };
  switch (c.schedule) {
    case LrSchedule::cosine:
      return fall(0.5 * (1 - std::cos(std::numbers::pi * progress(step, warm, end))));
    case LrSchedule::linear:
      return fall(progress(step, warm, end));
    case LrSchedule::wsd:
      return fall(progress(step, std::max(warm, end * (1 - c.decay_fraction)), end));
    case LrSchedule::constant:
      break;
  }
  return c.lr;
}

}  // namespace dualpath
