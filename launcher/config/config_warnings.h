// What a run's configuration allows, but few mean.
#pragma once

#include <string>
#include <vector>

#include "launcher/config/run_config.h"

namespace dualpath {

// For the run's log. REQUIRES: the config validates.
std::vector<std::string> config_warnings(const RunConfig& config);

}  // namespace dualpath
