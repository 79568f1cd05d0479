// Memory, traffic and time of a training job, found without running it: pure functions.
#pragma once

#include <vector>

#include "launcher/plan/step_forecast.h"

namespace dualpath {

// Bytes of one rank's device memory. Each is exactly what its trainer allocates, except `kernels`,
// which is an upper bound.
struct RankMemory {
  std::size_t values = 0;  // in the master type
  std::size_t copies = 0;  // in the operand type
  std::size_t gradients = 0;
  std::size_t moments = 0;
  ActivationMemory activations;
  std::vector<CategoryBytes> kernels;  // that these take for themselves, at the most

  std::size_t kernel_bytes() const;
  std::size_t total() const {
    return values + copies + gradients + moments + activations.stash_bytes +
           activations.scratch_bytes + activations.constant_bytes + kernel_bytes();
  }
};
// Without `kernels`. REQUIRES: options.parallel is resolved, as below.
RankMemory plan_memory(const TrainerOptions& options, int rank);

struct StagePlanned {
  int rank = 0;  // of the stage's ranks the one with the most; the rest is of this rank
  ParallelLayout layout;
  std::int64_t parameters = 0;  // that it holds
  double cost_share = 0;        // of all stages' passes
  double idle = 0;              // share of the passes' time
  RankMemory memory;
  GridTraffic traffic;  // of a step
};

struct JobPlan {
  double bubble_fraction = 0;
  double step_seconds = 0;  // on the machine
  std::vector<StagePlanned> stages;

  std::size_t largest_memory() const;  // of a rank
};
// Passes are held in what the machine counts: see step_forecast.h.
JobPlan plan_job(const TrainerOptions& options, const Machine& machine);

// FLOPs that one rank executes per token, recomputation and all products of attention included.
double executed_flops_per_token(const TrainerOptions& options);

}  // namespace dualpath
