// Kernels that compute nothing: a dry run of the model with them and measuring arenas finds how
// much memory a step takes and how many FLOPs its matrix products are, before anything is
// allocated.
#pragma once

#include "core/ops.h"

namespace dualpath {

class DryOps : public Ops {
 public:
  // 2·m·n·k summed over all matrix products issued (attention's own products not included).
  double matmul_flops() const { return matmul_flops_; }
  // With those of attention: two products of the forward pass, five of the backward pass.
  double flops() const { return matmul_flops_ + attention_flops_; }

  void matmul(Tensor c, Tensor a, Tensor, MatmulFlags flags) override {
    const std::int64_t inner = flags.transpose_a ? a.rows() : a.cols();
    matmul_flops_ += 2.0 * static_cast<double>(c.numel()) * static_cast<double>(inner);
  }

  void hold_weights() override {}
  void release_weights() override {}
  void fill(Tensor, double) override {}
  void copy(Tensor, Tensor) override {}
  void add(Tensor, Tensor) override {}
  void sum(Tensor, Tensor, Tensor) override {}
  void embedding(Tensor, Tensor, Tensor, VocabularyRows) override {}
  void embedding_backward(Tensor, Tensor, Tensor, VocabularyRows) override {}
  void rms_norm(Tensor, Tensor, Tensor, Tensor, double) override {}
  void rms_norm_backward(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor) override {}
  void residual(Tensor, Tensor, Tensor, Tensor) override {}
  void residual_rms_norm(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, double) override {}
  void residual_backward(Tensor, Tensor, Tensor) override {}
  void residual_gain_backward(Tensor, Tensor, Tensor, Tensor) override {}
  void qk_rope(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, AttentionShape,
               QkNorm, double) override {}
  void qk_rope_backward(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                        Tensor, Tensor, AttentionShape, QkNorm) override {}
  void attention(Tensor, Tensor, Tensor, Tensor, Tensor, AttentionShape shape) override {
    attention_flops_ += 2 * shape.causal_product_flops();
  }
  void attention_backward(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                          AttentionShape shape) override {
    attention_flops_ += 5 * shape.causal_product_flops();
  }
  void cached_attention(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, AttentionShape) override {}
  void swiglu(Tensor, Tensor) override {}
  void swiglu_backward(Tensor, Tensor, Tensor, Tensor) override {}
  void mixture_step(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, LoopStep) override {}
  void row_dot(Tensor, Tensor, Tensor) override {}
  void mixture_weights_backward(Tensor, Tensor, Tensor, double) override {}
  void mixture_step_backward(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                             LoopStep) override {}
  void expected_iterations(Tensor, Tensor) override {}
  void gate(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, GateMode, GateTarget) override {
  }
  void gate_backward(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                     Tensor, Tensor, GateMode, GateTarget) override {}
  void gate_regularizer(Tensor, Tensor, Tensor, std::int64_t, double, double) override {}
  void path_readout(Tensor, Tensor, Tensor, Tensor, Tensor) override {}
  void column_sums(Tensor, Tensor) override {}
  void cross_entropy(Tensor, Tensor, Tensor, Tensor, double) override {}
  void vocabulary_statistics(Tensor, Tensor, Tensor, VocabularyRows) override {}
  void sharded_cross_entropy(Tensor, Tensor, Tensor, Tensor, Tensor, VocabularyRows,
                             double) override {}
  void adamw(Tensor, Tensor, Tensor, Tensor, Tensor, const AdamWStep&) override {}
  void sum_of_squares(Tensor, Tensor) override {}

 private:
  double matmul_flops_ = 0;
  double attention_flops_ = 0;
};

}  // namespace dualpath
