#include "core/cuda/cuda_launcher.h"
#include "core/cuda/cuda_ops.h"
#include "core/cuda/kernels/cuda_thread.h"

namespace dualpath {
namespace {

struct CudaGrid {
  template <class Kernel>
  static const void* function() {
    return reinterpret_cast<const void*>(&gpu::run_kernel<Kernel>);
  }
  template <class Kernel>
  static void start(unsigned blocks, int threads, std::size_t shared_bytes, cudaStream_t stream,
                    const Kernel& kernel) {
    gpu::run_kernel<<<blocks, threads, shared_bytes, stream>>>(kernel);
  }
};

}  // namespace

std::unique_ptr<Ops> make_cuda_ops(Device& device, CudaStream& stream,
                                   const GpuProperties& properties) {
  return std::make_unique<CudaOps<CudaGrid>>(device, stream, properties);
}

}  // namespace dualpath
