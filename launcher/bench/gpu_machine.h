// The peaks of a device with memory of its own, by the largest operations that its kernels do.
#pragma once

#include "core/device/device.h"
#include "launcher/bench/machine_peaks.h"

namespace dualpath {

// REQUIRES: device.memory().
MachineBench measure_gpu(Device& device, const Effort& effort);

}  // namespace dualpath
