// The CPU backend. Streams are synchronous: every call has finished when it returns.
#pragma once

#include <memory>

#include "core/device.h"

namespace dualpath {

// num_threads: OpenMP threads that each kernel uses, >= 1.
std::unique_ptr<Device> make_cpu_device(int num_threads);

}  // namespace dualpath
