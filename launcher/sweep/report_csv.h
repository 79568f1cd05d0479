// A sweep's runs for other programs.
#pragma once

#include <string>

#include "launcher/sweep/sweep_results.h"

namespace dualpath {

// A line of names, then one a run in the sweep's order; what is not known is empty. Numbers have
// all their digits.
std::string report_csv(const SweepResults& results);

}  // namespace dualpath
