// Which device a rank computes on.
#pragma once

#include <memory>

#include "core/config.h"
#include "core/device.h"

namespace dualpath {

enum class DeviceChoice { automatic, cpu, cuda };

template <>
struct EnumNames<DeviceChoice> {
  static constexpr std::pair<DeviceChoice, const char*> values[] = {
      {DeviceChoice::automatic, "auto"}, {DeviceChoice::cpu, "cpu"}, {DeviceChoice::cuda, "cuda"}};
};

// num_threads: of the CPU's kernels. local_rank: among the ranks of this host, which share its GPUs
// in turn. Throws Error(configuration) where a GPU is asked for and there is none.
std::unique_ptr<Device> make_device(DeviceChoice choice, int num_threads, int local_rank);

}  // namespace dualpath
