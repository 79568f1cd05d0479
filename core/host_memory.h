// What Linux tells about this host under /proc.
#pragma once

#include <cstdint>
#include <string>

namespace dualpath {

// The value of the first line "key   : value" of a file under /proc; "" if there is none.
std::string proc_value(const char* path, const std::string& key);

// Memory that can be had without swapping, in bytes; the largest number where it is not known.
std::int64_t available_host_bytes();
// All of its memory, likewise.
std::int64_t total_host_bytes();

}  // namespace dualpath
