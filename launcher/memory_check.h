// Whether a run's memory can be had: asked before anything is allocated.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/run_config.h"

namespace dualpath {

// Adds a problem where sizes that are possible each by itself make a run together that no machine
// can hold, so that planning it could not even count its bytes. REQUIRES: the model can be
// resolved.
void validate_memory(const RunConfig& config, ConfigProblems& problems);

// What is wrong, and what helps, where num_ranks ranks, of which ranks_of_host share this host's
// memory, want more than the available_bytes of it; "" where they fit. A vocabulary that is not
// known yet counts as none. REQUIRES: the config validates on num_ranks ranks.
std::string memory_problem(const RunConfig& config, std::int64_t num_ranks,
                           std::int64_t ranks_of_host, std::int64_t available_bytes);

}  // namespace dualpath
