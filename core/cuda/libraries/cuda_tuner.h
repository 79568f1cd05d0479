// Chooses the algorithms of a set of kernels on a GPU by timing them.
#pragma once

#include <variant>

#include "core/cuda/libraries/cuda_matmul.h"
#include "core/cuda/libraries/fused_attention.h"
#include "core/device/device.h"

namespace dualpath {

// What a set of kernels leaves to libraries, and the stream that it issues this on.
struct CudaLibraries {
  CudaStream& stream;
  CudaMatmul& products;
  FusedAttention& attention;
};

class CudaTuner final : public KernelTuner {
 public:
  // How many algorithms are timed, and how often each.
  static constexpr int num_candidates = 8, num_rounds = 7;

  // gpu: its kind. cache_bytes: the GPU's cache, which no product finds its operands in.
  CudaTuner(Device& device, const CudaLibraries& libraries, const std::string& gpu,
            std::size_t cache_bytes);

  std::string made_for() const override { return made_for_; }
  Ops& recorder() override { return recorder_; }
  std::vector<std::string> calls() const override;
  std::string choose(const std::string& call) override;
  void keep_to(const Choices& choices) override;

 private:
  using Call = std::variant<gpu::Product, AttentionShape>;
  struct Recorder final : Ops {
    void run(const Operation& operation) override;
    std::map<std::string, Call> calls;
  };
  CudaMatmul::Algorithm fastest(const gpu::Product& product);

  Device& device_;
  const CudaLibraries libraries_;
  const std::string made_for_;
  const std::size_t cache_bytes_;
  Recorder recorder_;
};

}  // namespace dualpath
