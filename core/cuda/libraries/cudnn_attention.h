// Causal attention of core/ops/ops.h by cuDNN, bf16 operands, for one shape: the same bits every
// time. What it calls statistics is our log_sum, laid out [sequences, H, positions].
#pragma once

#include "core/cuda/libraries/cudnn_graph.h"
#include "core/ops/ops.h"

namespace dualpath {

class CudnnAttention {
 public:
  // Its backward pass goes over parts like `part` (gpu::attention_part()). Throws Error(internal)
  // where the library cannot compute this shape, or not deterministically.
  CudnnAttention(const AttentionShape& shape, const AttentionShape& part,
                 const CudnnTarget& target);

  // Device memory for either pass.
  std::size_t workspace_bytes() const;

  // Operands as of op::Attention and op::AttentionBackward; v, dv: their columns in qkv, dqkv.
  struct ForwardOperands {
    const void *out, *statistics, *q, *k, *v;
  };
  void forward(cudnnHandle_t handle, const ForwardOperands& operands, void* workspace);
  struct BackwardOperands {
    const void *dq, *dk, *dv, *dout, *out, *statistics, *q, *k, *v;
  };
  void backward(cudnnHandle_t handle, const BackwardOperands& operands, void* workspace);

 private:
  struct Forward {
    CudnnTensor out, statistics, q, k, v;
    CudnnPlan plan;
  };
  struct Backward {
    CudnnTensor dq, dk, dv, dout, out, statistics, q, k, v, delta;
    CudnnPlan plan;
  };
  static Forward make_forward(const AttentionShape& shape, const CudnnTarget& target);
  static Backward make_backward(const AttentionShape& shape, const AttentionShape& part,
                                const CudnnTarget& target);
  // The operands of the part that begins with this sequence and key/value head.
  BackwardOperands part_of(const BackwardOperands& operands, std::int64_t sequence,
                           std::int64_t kv_head) const;

  AttentionShape shape_, part_;
  std::size_t delta_bytes_;
  Forward forward_;
  Backward backward_;
};

}  // namespace dualpath
