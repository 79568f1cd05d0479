// What a run of a sweep will take, without running it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "launcher/plan/machine.h"

namespace dualpath {

struct RunForecast {
  std::size_t rank_bytes = 0;  // memory of the rank that takes most
  double seconds = 0;          // FLOPs on counting_flops()
};

// REQUIRES: the config validates on num_ranks ranks, its vocabulary is settled. Throws
// Error(configuration) where the machine has no links that the layout needs.
RunForecast forecast_run(RunConfig config, std::int64_t num_ranks, const Machine& machine);

}  // namespace dualpath
