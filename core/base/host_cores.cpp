#include "core/base/host_cores.h"

#include <algorithm>
#include <charconv>
#include <sched.h>
#include <string>
#include <thread>

#include "core/base/control_group.h"

namespace dualpath {
namespace {

// The least of the quotas of the process's control group and of those that it is in.
std::optional<int> least_quota() {
  std::optional<int> least;
  for (const std::string& cpu_max : control_group_values("", "cpu.max")) {
    if (const auto cores = cores_of_quota(cpu_max))
      least = std::min(least.value_or(*cores), *cores);
  }
  return least;
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
