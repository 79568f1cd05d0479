// The operations of core/ops.h on a GPU.
#pragma once

#include <memory>
#include <string>

#include "core/cuda/runtime/cuda_stream.h"
#include "core/device.h"

namespace dualpath {

struct GpuProperties {
  std::string model;
  int multiprocessors = 1;
  std::size_t shared_bytes = 48 << 10;  // that a block can be given at the most
  std::size_t cache_bytes = 0;
};

// `device` gives the memory that kernels work in; it and `stream` outlive the kernels.
std::unique_ptr<Ops> make_cuda_ops(Device& device, CudaStream& stream,
                                   const GpuProperties& properties);

}  // namespace dualpath
