// Corpora that a configuration names, and that are not where it says.
#pragma once

#include "launcher/config/run_config.h"

namespace dualpath {

// Throws Error(data) for the first corpus that is not there: where it was looked for, and whether
// it is to be found from a folder around the configuration that names it.
void check_corpora_are_here(const RunConfig& config, const ConfigSource& source);

}  // namespace dualpath
