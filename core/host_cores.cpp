#include "core/host_cores.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <thread>

namespace dualpath {
namespace {

// This process's control group, a path below the root of the hierarchy of version 2: "0::/a/b".
std::string control_group() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "/";
}

// The least of the quotas of the group and of those that it is in.
std::optional<int> least_quota() {
  std::optional<int> least;
  std::filesystem::path group = control_group();
  while (true) {
    std::ifstream file("/sys/fs/cgroup" / group.relative_path() / "cpu.max");
    std::string cpu_max;
    std::getline(file, cpu_max);
    if (const auto cores = cores_of_quota(cpu_max))
      least = std::min(least.value_or(*cores), *cores);
    if (!group.has_relative_path()) return least;
    group = group.parent_path();
  }
}

}  // namespace

std::optional<int> cores_of_quota(std::string_view cpu_max) {
  const char* end = cpu_max.data() + cpu_max.size();
  std::int64_t quota = 0, period = 0;
  const auto first = std::from_chars(cpu_max.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end) return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || quota <= 0 || period <= 0) return std::nullopt;
  return static_cast<int>(std::min<std::int64_t>((quota + period - 1) / period, 1 << 20));
}

int host_cores() {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::min(cores, least_quota().value_or(cores));
}

int own_cores() {
  cpu_set_t mine;
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) return host_cores();
  return std::min(host_cores(), CPU_COUNT(&mine));
}

}  // namespace dualpath
