// What a run's configuration leaves to its ranks and to rules.
#pragma once

#include "launcher/config/device_options.h"
#include "launcher/config/run_config.h"

namespace dualpath {

// A configuration whose model, layout and micro-batch are settled; the tokenizer's vocabulary may
// still be to come. Only resolve() makes one.
class ResolvedRunConfig : public RunConfig {
  friend ResolvedRunConfig resolve(RunConfig config, std::int64_t num_ranks, Processor processor);
  explicit ResolvedRunConfig(RunConfig config) : RunConfig(std::move(config)) {}
};

// Resolves to itself. REQUIRES: the config validates on num_ranks ranks.
ResolvedRunConfig resolve(RunConfig config, std::int64_t num_ranks, Processor processor);

}  // namespace dualpath
