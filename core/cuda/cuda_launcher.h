// The kernels of device_ops.h on a CUDA stream, and cuBLASLt's products. A Grid starts a kernel:
//
//   template <class Kernel> static const void* function();  // what the CUDA runtime calls it
//   template <class Kernel> static void start(unsigned blocks, int threads,
//                                             std::size_t shared_bytes, cudaStream_t stream,
//                                             const Kernel& kernel);
//
// On a GPU that is nvcc's launch (cuda_ops.cu); the tests have one for the host.
#pragma once

#include <optional>

#include "core/cuda/cuda_check.h"
#include "core/cuda/cuda_matmul.h"
#include "core/cuda/cuda_ops.h"
#include "core/cuda/device_ops.h"

namespace dualpath {

template <class Grid>
class CudaLauncher {
 public:
  CudaLauncher(Device& device, CudaStream& stream, const CudaLimits& limits)
      : device_(device), stream_(stream), limits_(limits) {}

  cudaStream_t stream() const { return stream_.use(); }

  template <class Kernel>
  void launch(std::int64_t blocks, int threads, std::size_t shared_bytes, const Kernel& kernel) {
    CHECK(blocks <= INT32_MAX, "{} blocks of a grid", blocks);
    const cudaStream_t on = stream();
    if (shared_bytes + gpu::reduction_bytes > undeclared_shared_bytes)
      declare_shared_bytes<Kernel>(shared_bytes);
    Grid::start(static_cast<unsigned>(blocks), threads, shared_bytes, on, kernel);
    CUDA_CHECK(cudaGetLastError());
  }

  // Grows in a training run's first step, if at all.
  void* workspace(std::size_t bytes) {
    if (bytes > workspace_.bytes())
      workspace_ = device_.allocate(std::max(bytes, least_workspace_bytes));
    return workspace_.data();
  }
  int full_grid() const { return limits_.multiprocessors; }

 private:
  static constexpr std::size_t undeclared_shared_bytes = 48 << 10;
  static constexpr std::size_t least_workspace_bytes = 8 << 20;

  template <class Kernel>
  void declare_shared_bytes(std::size_t bytes) {
    const std::size_t all = bytes + gpu::reduction_bytes;
    CHECK_AS(ExitCode::configuration, all <= limits_.shared_bytes,
             "a kernel needs {} bytes of shared memory, {} has {}: the model is too wide for it",
             all, device_.name(), limits_.shared_bytes);
    CUDA_CHECK(cudaFuncSetAttribute(Grid::template function<Kernel>(),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)));
  }

  Device& device_;
  CudaStream& stream_;
  CudaLimits limits_;
  Buffer workspace_;
};

template <class Grid>
class CudaOps final : public gpu::DeviceOps<CudaLauncher<Grid>> {
 public:
  CudaOps(Device& device, CudaStream& stream, const CudaLimits& limits)
      : gpu::DeviceOps<CudaLauncher<Grid>>(device, stream, limits), device_(device) {}

  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    check_matmul(c, a, b, flags);
    if (c.numel() == 0) return;
    if (a.numel() == 0) {
      if (!flags.accumulate) this->fill(c, 0);
      return;
    }
    if (!products_) {
      product_workspace_ = device_.allocate(CudaMatmul::workspace_bytes);
      products_.emplace(product_workspace_.data());
    }
    products_->run(c, a, b, flags, this->launcher_.stream());
  }

 private:
  Device& device_;
  Buffer product_workspace_;
  std::optional<CudaMatmul> products_;  // made by the first product: most sets of kernels have none
};

}  // namespace dualpath
