#include "core/base/host_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <utility>

#include "core/base/control_group.h"

namespace dualpath {

std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, key.size(), key) != 0) continue;
    const std::size_t colon = line.find(':');
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && value != std::string::npos) return line.substr(value);
  }
  return "";
}

namespace {

std::int64_t memory_bytes(const std::string& key) {
  const std::string kibibytes = proc_value("/proc/meminfo", key);
  return kibibytes.empty() ? INT64_MAX : std::stoll(kibibytes) * 1024;
}

}  // namespace

std::int64_t available_host_bytes() {
  return memory_bytes("MemAvailable");
}

std::int64_t bytes_of_limit(std::string_view limit) {
  std::int64_t bytes = 0;
  const char* const end = limit.data() + limit.size();
  const auto [rest, error] = std::from_chars(limit.data(), end, bytes);
  const bool is_number = error == std::errc() && (rest == end || *rest == '\n') && bytes > 0;
  return is_number ? bytes : INT64_MAX;
}

std::int64_t total_host_bytes() {
  std::int64_t bytes = memory_bytes("MemTotal");
  for (const auto& [controller, file] :
       {std::pair{"", "memory.max"}, std::pair{"memory", "memory.limit_in_bytes"}}) {
    for (const std::string& limit : control_group_values(controller, file))
      bytes = std::min(bytes, bytes_of_limit(limit));
  }
  return bytes;
}

}  // namespace dualpath
