// The CPU backend. Streams are synchronous: every call has finished when it returns.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/device/device.h"

namespace dualpath {

// num_threads: OpenMP threads that each kernel uses, >= 1. kernels: one of cpu_kernels(); empty:
// the best. Throws Error(configuration) where there are none.
std::unique_ptr<Device> make_cpu_device(int num_threads, const std::string& kernels = "");

// The sets of kernels that this processor runs ("avx512_bf16", "avx512", "avx2"), the best first.
std::vector<std::string> cpu_kernels();

}  // namespace dualpath
