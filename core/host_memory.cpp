#include "core/host_memory.h"

#include <fstream>

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

std::int64_t total_host_bytes() {
  return memory_bytes("MemTotal");
}

}  // namespace dualpath
