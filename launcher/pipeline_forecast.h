// What the passes of a step cost on every stage, by the FLOPs of a dry run.
#pragma once

#include "launcher/trainer.h"
#include "parallel/pipeline_simulation.h"

namespace dualpath {

// Carries out the plans of all stages, each piece taking as long as its FLOPs; the unit of time is
// a FLOP of one rank. `link`: of a message. Sequences are the same on all ranks of a stage.
// REQUIRES: options.parallel is resolved.
Simulation forecast_passes(const TrainerOptions& options, double link = 0);

}  // namespace dualpath
