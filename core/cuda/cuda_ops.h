// The kernels of core/ops.h on a GPU.
#pragma once

#include <memory>

#include "core/cuda/cuda_matmul.h"
#include "core/cuda/cuda_stream.h"
#include "core/cuda/fused_attention.h"
#include "core/device.h"

namespace dualpath {

struct CudaLimits {
  int multiprocessors = 1;
  std::size_t shared_bytes = 48 << 10;  // that a block can be given at the most
};

// `device` gives the memory that kernels work in; it and `stream` outlive the kernels.
std::unique_ptr<Ops> make_cuda_ops(Device& device, CudaStream& stream, const CudaLimits& limits);

// What a set of kernels leaves to libraries, and the stream that it issues this on. All that
// make_cuda_ops() makes are CudaLibraryUsers.
struct CudaLibraryCalls {
  CudaStream& stream;
  CudaMatmul& products;
  FusedAttention& attention;
};
class CudaLibraryUser {
 public:
  virtual ~CudaLibraryUser() = default;
  virtual CudaLibraryCalls library_calls() = 0;
};

}  // namespace dualpath
