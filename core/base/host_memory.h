// What Linux tells about this host under /proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dualpath {

// The value of the first line "key   : value" of a file under /proc; "" if there is none.
std::string proc_value(const char* path, const std::string& key);

// Memory that can be had without swapping, in bytes; the largest number where it is not known.
std::int64_t available_host_bytes();
// All memory that this process and its neighbours can have, likewise: the host's, or that of their
// control group (container, Slurm job) where it has a limit.
std::int64_t total_host_bytes();

// The limit that memory.max (version 2) or memory.limit_in_bytes (version 1) of a control group
// states; the largest number for "max".
std::int64_t bytes_of_limit(std::string_view limit);

}  // namespace dualpath
