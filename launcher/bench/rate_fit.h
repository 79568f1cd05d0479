// From measured times to rates.
#pragma once

#include <span>

#include "launcher/plan/machine.h"

namespace dualpath {

struct TimedCall {
  double flops = 0;
  double bytes = 0;
  double seconds = 0;
};

// The overhead and rates, none below 0, with the least sum of squared relative errors; what the
// calls do not tell apart is counted to the first of FLOPs, bytes, overhead. Names are left empty.
// REQUIRES: at least one call.
KernelRate fit_rate(std::span<const TimedCall> calls);

}  // namespace dualpath
