// The operations of core/ops/ops.h on a CUDA stream: by the kernels of kernels/, and products and
// attention by libraries. A Grid starts a kernel:
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

#include "core/cuda/gpu_properties.h"
#include "core/cuda/kernels/all.h"
#include "core/cuda/libraries/cuda_tuner.h"
#include "core/cuda/runtime/cuda_check.h"
#include "core/ops/check.h"

namespace dualpath {

template <class Grid>
class CudaLauncher {
 public:
  CudaLauncher(Device& device, CudaStream& stream, const GpuProperties& properties)
      : device_(device), stream_(stream), properties_(properties) {}

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
  int full_grid() const { return properties_.multiprocessors; }

 private:
  static constexpr std::size_t undeclared_shared_bytes = 48 << 10;
  static constexpr std::size_t least_workspace_bytes = 8 << 20;

  template <class Kernel>
  void declare_shared_bytes(std::size_t bytes) {
    const std::size_t all = bytes + gpu::reduction_bytes;
    CHECK_AS(ExitCode::configuration, all <= properties_.shared_bytes,
             "a kernel needs {} bytes of shared memory, {} has {}: the model is too wide for it",
             all, device_.name(), properties_.shared_bytes);
    CUDA_CHECK(cudaFuncSetAttribute(Grid::template function<Kernel>(),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)));
  }

  Device& device_;
  CudaStream& stream_;
  const GpuProperties properties_;
  Buffer workspace_;
};

template <class Grid>
class CudaOps final : public Ops {
 public:
  CudaOps(Device& device, CudaStream& stream, const GpuProperties& properties)
      : device_(device),
        properties_(properties),
        launcher_(device, stream, properties),
        fused_attention_(device, stream) {}

  void run(const Operation& operation) override {
    check(operation);
    std::visit([this](const auto& op) { this->issue(op); }, operation);
  }
  std::unique_ptr<KernelTuner> make_tuner() override {
    return std::make_unique<CudaTuner>(
        device_, CudaLibraries{launcher_.stream(), products(), fused_attention_},
        fmt::format("{}, {} multiprocessors", properties_.model, properties_.multiprocessors),
        properties_.cache_bytes);
  }

 private:
  // By our kernels.
  template <class Op>
  void issue(const Op& op) {
    gpu::launch(launcher_, op);
  }
  // By libraries.
  void issue(const op::Matmul& op) {
    if (op.c.numel() == 0) return;
    if (op.a.numel() == 0) {
      if (!op.flags.accumulate) issue(op::Fill{.out = op.c, .value = 0});
      return;
    }
    products().run(op, launcher_.stream().use());
  }
  void issue(const op::Attention& op) {
    if (!fused_attention_.takes(op.q_THE.dtype, op.shape)) return gpu::launch(launcher_, op);
    const Tensor log_sum_NHP = fused_attention_.log_sum_NHP(op.shape);
    fused_attention_.forward(op, log_sum_NHP);
    gpu::launch_exchange(launcher_, {.out = op.log_sum_TH.as<float>(),
                                     .in = log_sum_NHP.as<float>(),
                                     .count = op.shape.sequences,
                                     .rows = op.shape.heads,
                                     .columns = op.shape.positions});
  }
  void issue(const op::AttentionBackward& op) {
    if (!fused_attention_.takes(op.q_THE.dtype, op.shape)) return gpu::launch(launcher_, op);
    const Tensor log_sum_NHP = fused_attention_.log_sum_NHP(op.shape);
    gpu::launch_exchange(launcher_, {.out = log_sum_NHP.as<float>(),
                                     .in = op.log_sum_TH.as<float>(),
                                     .count = op.shape.sequences,
                                     .rows = op.shape.positions,
                                     .columns = op.shape.heads});
    fused_attention_.backward(op, log_sum_NHP);
  }

  CudaMatmul& products() {
    if (!products_) {
      product_workspace_ = device_.allocate(CudaMatmul::workspace_bytes);
      products_.emplace(product_workspace_.data());
    }
    return *products_;
  }

  Device& device_;
  const GpuProperties properties_;
  CudaLauncher<Grid> launcher_;
  Buffer product_workspace_;
  std::optional<CudaMatmul> products_;  // made by the first product: most sets of kernels have none
  FusedAttention fused_attention_;
};

}  // namespace dualpath
