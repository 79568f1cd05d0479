// Attention by cuDNN, where the program was built with it (no_cudnn.cpp: where it was not): bf16
// operands, the same bits every time.
#pragma once

#include <memory>
#include <string>

#include "core/cuda/cuda_stream.h"
#include "core/cuda/workspaces.h"
#include "core/device.h"

namespace dualpath {

class FusedAttention {
 public:
  // Work is issued on `stream`; `device` gives memory. Both outlive this. The backward pass goes
  // over parts that work in `most` bytes.
  FusedAttention(Device& device, CudaStream& stream, std::size_t most = gpu::most_attention_bytes);
  ~FusedAttention();

  // Whether the library computes attention of such operands and this shape. The first time it makes
  // plans, and has memory for them: where there is none it throws Error(configuration).
  bool takes(DType operand, const AttentionShape& shape);
  std::string problem(const AttentionShape& shape);  // why not, with bf16 operands; or empty
  // Has the library take no such attention from here on.
  void leave(const AttentionShape& shape, const std::string& why);

  // REQUIRES, for all: takes(). Operands as of Ops::attention and
  // Ops::attention_backward, with log_sum_NHP [sequences, H, positions] instead of log_sum_TH.
  Tensor log_sum_NHP(const AttentionShape& shape) const;  // scratch memory for it
  void forward(Tensor out_THE, Tensor log_sum_NHP, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
               const AttentionShape& shape);
  void backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE, Tensor out_THE,
                Tensor log_sum_NHP, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                const AttentionShape& shape);

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

// "9.19.0"; empty where the program was built without, or the library cannot be loaded.
std::string cudnn_version();

}  // namespace dualpath
