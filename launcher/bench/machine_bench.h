// Measures the peaks of the machine.
#pragma once

#include "core/device/device.h"
#include "launcher/bench/machine_peaks.h"

namespace dualpath {

// num_threads: of the CPU.
MachineBench measure_machine(Device& device, int num_threads, const Effort& effort);

}  // namespace dualpath
