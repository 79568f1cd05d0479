// From a run's configuration to what a trainer takes.
#pragma once

#include "core/base/log.h"
#include "launcher/config/resolve_run.h"
#include "launcher/job/job.h"
#include "launcher/train/trainer.h"

namespace dualpath {

// What the config leaves to the job, its ranks' devices and to rules. Collective. REQUIRES: it
// validates on the job's ranks.
ResolvedRunConfig resolve(RunConfig config, Job& job, const Device& device, Log& log);

// Last step of a run whose length is given in steps, tokens or training FLOPs, `done` of it made
// already (perhaps with another batch size).
std::int64_t total_steps(const RunConfig& config, const TrainingProgress& done);

TrainerOptions trainer_options(const ResolvedRunConfig& config, std::int64_t total_steps);

}  // namespace dualpath
