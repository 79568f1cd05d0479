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
#include <typeinfo>

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

  CudaStream& stream() const { return stream_; }

  template <class Kernel>
  void launch(std::int64_t blocks, int threads, std::size_t shared_bytes, const Kernel& kernel) {
    CHECK(blocks <= INT32_MAX, "{} blocks of a grid", blocks);
    const cudaStream_t on = stream_.use();
    if (shared_bytes + gpu::reduction_bytes > undeclared_shared_bytes)
      declare_shared_bytes<Kernel>(shared_bytes);
    Grid::start(static_cast<unsigned>(blocks), threads, shared_bytes, on, kernel);
    const cudaError_t status = cudaGetLastError();
    CHECK(status == cudaSuccess, "a launch of {}: {}", typeid(Kernel).name(),
          cudaGetErrorString(status));
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
class CudaOps final : public gpu::DeviceOps<CudaLauncher<Grid>>, public CudaLibraryUser {
 public:
  CudaOps(Device& device, CudaStream& stream, const CudaLimits& limits)
      : Kernels(device, stream, limits), device_(device), fused_attention_(device, stream) {}

  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    check_matmul(c, a, b, flags);
    if (c.numel() == 0) return;
    if (a.numel() == 0) {
      if (!flags.accumulate) this->fill(c, 0);
      return;
    }
    products().run(c, a, b, flags, this->launcher_.stream().use());
  }

  void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                 AttentionShape shape) override {
    if (!fused_attention_.takes(q_THE.dtype, shape))
      return Kernels::attention(out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
    check_attention(out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
    const Tensor log_sum_NHP = fused_attention_.log_sum_NHP(shape);
    fused_attention_.forward(out_THE, log_sum_NHP, q_THE, k_TGE, qkv_TC, shape);
    this->exchange_rows_and_columns(log_sum_TH, log_sum_NHP, shape.sequences, shape.heads,
                                    shape.positions);
  }
  void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                          Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                          Tensor qkv_TC, AttentionShape shape) override {
    if (!fused_attention_.takes(q_THE.dtype, shape)) {
      return Kernels::attention_backward(dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH,
                                         q_THE, k_TGE, qkv_TC, shape);
    }
    check_attention_backward(dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH, q_THE, k_TGE,
                             qkv_TC, shape);
    const Tensor log_sum_NHP = fused_attention_.log_sum_NHP(shape);
    this->exchange_rows_and_columns(log_sum_NHP, log_sum_TH, shape.sequences, shape.positions,
                                    shape.heads);
    fused_attention_.backward(dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_NHP, q_THE, k_TGE,
                              qkv_TC, shape);
  }

  CudaLibraryCalls library_calls() override {
    return {this->launcher_.stream(), products(), fused_attention_};
  }

 private:
  using Kernels = gpu::DeviceOps<CudaLauncher<Grid>>;

  CudaMatmul& products() {
    if (!products_) {
      product_workspace_ = device_.allocate(CudaMatmul::workspace_bytes);
      products_.emplace(product_workspace_.data());
    }
    return *products_;
  }

  Device& device_;
  Buffer product_workspace_;
  std::optional<CudaMatmul> products_;  // made by the first product: most sets of kernels have none
  FusedAttention fused_attention_;
};

}  // namespace dualpath
