// Kernels of core/cuda on a fake GPU: run by the emulator of GPU kernels.
#pragma once

#include <cuda_runtime_api.h>
#include <functional>

#include "tests/gpu_emulator/emulated_block.h"

namespace dualpath::fake_cuda {

// Of a launch: `function` is what cudaFuncSetAttribute calls the kernel. What CUDA refuses becomes
// the thread's last error.
void launch(const void* function, unsigned blocks, int threads, std::size_t shared_bytes,
            cudaStream_t stream, std::function<void(EmulatedThread&)> kernel);

}  // namespace dualpath::fake_cuda
