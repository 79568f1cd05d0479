// Which device a rank computes on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/device/device.h"
#include "launcher/config/device_options.h"

namespace dualpath {

// What says that this process was given GPUs: "SLURM_GPUS_ON_NODE=4", of the environment, or
// "/dev/nvidia0", of the machine; empty: nothing. variable: as std::getenv.
std::string given_gpus(const std::function<const char*(const char*)>& variable);
std::string visible_gpus();

// num_threads: of the CPU's kernels. local_rank: among the ranks of this host, which share its GPUs
// in turn. Throws Error(configuration) where a GPU is asked for, or this process was given some,
// and none can be used.
std::unique_ptr<Device> make_device(DeviceChoice choice, int num_threads, int local_rank);

}  // namespace dualpath
