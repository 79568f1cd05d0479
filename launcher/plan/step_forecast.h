// How long a step takes on a machine, found without running it: a dry run of the passes gives every
// kernel's calls, formulas give the messages, and the stages' plans are carried out with both.
#pragma once

#include <vector>

#include "launcher/plan/machine.h"
#include "launcher/train/trainer.h"
#include "parallel/pipeline_simulation.h"

namespace dualpath {

// The rank of a stage that has the most of what the tensor axis cuts.
int fullest_rank(const GridShape& grid, int stage);

// What the fullest rank of a stage takes. Times are seconds, or FLOPs on counting_flops().
struct StageForecast {
  int rank = 0;
  ParallelLayout layout;
  ActivationMemory activations;  // passes: what their kernels take
  GridTraffic traffic;           // of a step
  double update = 0;             // once a step: gradients cleared, their norm, the optimizer
  double messages = 0;           // beside the passes: gradients, values, sums
};

struct StepForecast {
  std::vector<StageForecast> stages;
  Simulation passes;
  // After the passes: the update, then messages; where communication overlaps, only the part of
  // them that a first forward and a last backward pass do not hide. The longest of all stages.
  double after_passes = 0;

  double seconds() const { return passes.makespan + after_passes; }
};

// A pass takes its kernels and its messages on the tensor axis, one after the other, or the longer
// of the two where communication overlaps. All regularisers count; reading data does not.
// REQUIRES: options.parallel is resolved. Throws Error(configuration) where the machine has no
// links that the layout needs.
StepForecast forecast_step(const TrainerOptions& options, const Machine& machine);

}  // namespace dualpath
