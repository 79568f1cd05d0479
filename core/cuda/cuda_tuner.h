// Chooses the algorithms of a set of kernels on a GPU by timing them.
#pragma once

#include <variant>

#include "core/cuda/cuda_ops.h"
#include "core/device.h"
#include "core/dry_ops.h"

namespace dualpath {

class CudaTuner final : public KernelTuner {
 public:
  // How many algorithms are timed, and how often each.
  static constexpr int num_candidates = 8, num_rounds = 7;

  // cache_bytes: the GPU's cache, which no product finds its operands in.
  CudaTuner(Device& device, const CudaLibraryCalls& libraries, std::string made_for,
            std::size_t cache_bytes)
      : device_(device),
        libraries_(libraries),
        made_for_(std::move(made_for)),
        cache_bytes_(cache_bytes) {}

  std::string made_for() const override { return made_for_; }
  Ops& recorder() override { return recorder_; }
  std::vector<std::string> calls() const override;
  std::string choose(const std::string& call) override;
  void keep_to(const Choices& choices) override;

 private:
  using Call = std::variant<gpu::Product, AttentionShape>;
  struct Recorder final : DryOps {
    void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override;
    void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                   AttentionShape shape) override;
    std::map<std::string, Call> calls;
  };
  CudaMatmul::Algorithm fastest(const gpu::Product& product);

  Device& device_;
  const CudaLibraryCalls libraries_;
  const std::string made_for_;
  const std::size_t cache_bytes_;
  Recorder recorder_;
};

}  // namespace dualpath
