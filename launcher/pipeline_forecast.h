// How long a step takes, by the FLOPs of a dry run and the traffic of formulas.
#pragma once

#include <limits>

#include "launcher/trainer.h"
#include "parallel/pipeline_simulation.h"

namespace dualpath {

// A rank's. By default time is told in FLOPs, and messages take none.
struct Rates {
  double flops = 1;  // a second, as training reaches them
  double link_bytes = std::numeric_limits<double>::infinity();  // a second, each way
};

// The rank of a stage that has the most of what the tensor axis cuts.
int fullest_rank(const GridShape& grid, int stage);

// Carries out the plans of all stages. A pass takes its FLOPs and its traffic on the tensor axis,
// one after the other, or the longer of the two where communication overlaps.
// REQUIRES: options.parallel is resolved.
Simulation forecast_passes(const TrainerOptions& options, const Rates& rates = {});

// Seconds of a whole step: the passes, then gradients, values and sums, of which as much counts
// where communication overlaps as goes beyond a first forward and a last backward pass.
double forecast_step(const TrainerOptions& options, const Rates& rates);

}  // namespace dualpath
