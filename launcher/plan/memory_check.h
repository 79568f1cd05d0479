// Whether a run fits the memory of its host, checked before anything is allocated.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/config/run_config.h"

namespace dualpath {

// Ranks [first, first + count) of a job, which share a host.
struct HostRanks {
  std::int64_t first = 0;
  std::int64_t count = 1;
};

// What is wrong, and what helps, where these ranks of num_ranks want more than the host_bytes of
// memory that their host has; "" where they fit. A vocabulary that is not known yet counts as none.
// REQUIRES: the config validates on num_ranks ranks.
std::string memory_problem(RunConfig config, std::int64_t num_ranks, const HostRanks& ranks,
                           std::int64_t host_bytes);

}  // namespace dualpath
