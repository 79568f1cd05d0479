// The operations of core/ops/ops.h on a GPU.
#pragma once

#include <memory>

#include "core/cuda/gpu_properties.h"
#include "core/cuda/runtime/cuda_stream.h"
#include "core/device/device.h"

namespace dualpath {

// `device` gives the memory that kernels work in; it and `stream` outlive the kernels.
std::unique_ptr<Ops> make_cuda_ops(Device& device, CudaStream& stream,
                                   const GpuProperties& properties);

}  // namespace dualpath
