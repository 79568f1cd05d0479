// The kernels of the CPU backend. Each theme's file defines the methods named after it here.
#pragma once

#include "core/cpu/matmul.h"
#include "core/cpu/scratch.h"
#include "core/ops.h"

namespace dualpath {

class CpuOps final : public Ops {
 public:
  explicit CpuOps(int num_threads) : num_threads_(num_threads), scratch_(num_threads) {}

  // movement.cpp
  void fill(Tensor out, double value) override;
  void copy(Tensor out, Tensor in) override;
  void add(Tensor out, Tensor in) override;
  void sum(Tensor out, Tensor a, Tensor b) override;
  void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) override;
  void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                          VocabularyRows rows) override;

  // matmul.cpp
  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override;
  void hold_weights() override { bf16_products_.hold(); }
  void release_weights() override { bf16_products_.release(); }

  // norm.cpp
  void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                double epsilon) override;
  void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                         Tensor weight_D, Tensor rstd_T) override;
  void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) override;
  void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                         Tensor gain, Tensor weight_D, double epsilon) override;
  void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) override;
  void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) override;

  // rope.cpp
  void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
               Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape, QkNorm norm,
               double epsilon) override;
  void qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                        Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                        Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                        QkNorm norm) override;

  // attention_forward.cpp, attention_backward.cpp; few_queries.cpp
  void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                 AttentionShape shape) override;
  void cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                        Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) override;
  void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                          Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                          Tensor qkv_TC, AttentionShape shape) override;

  // ffn.cpp
  void swiglu(Tensor out_TF, Tensor gate_up_T2F) override;
  void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                       Tensor gate_up_T2F) override;

  // mixture.cpp
  void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T, Tensor h_TD,
                    Tensor router_w, Tensor router_b, LoopStep step) override;
  void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) override;
  void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                double ponder_scale) override;
  void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b, Tensor dh_deep_TD,
                             Tensor h_TD, Tensor weight_T, Tensor dlogit_T, Tensor router_w,
                             LoopStep step) override;
  void expected_iterations(Tensor out_T, Tensor weight_KT) override;

  // gate.cpp
  void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
            Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) override;
  void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                     Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD, Tensor h_deep_TD,
                     Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND, GateMode mode,
                     GateTarget target) override;

  // gate_readout.cpp
  void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2, std::int64_t positions,
                        double entropy_scale, double balance_scale) override;
  void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor gates_T2) override;
  void column_sums(Tensor out_C, Tensor in_TC) override;

  // loss.cpp
  void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                     double grad_scale) override;
  void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                             VocabularyRows rows) override;
  void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor stats_RT3,
                             Tensor targets_T, VocabularyRows rows, double grad_scale) override;

  // optimizer.cpp
  void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
             const AdamWStep& step) override;
  void sum_of_squares(Tensor out, Tensor x_N) override;

 private:
  int num_threads_;
  Scratch scratch_;
  Bf16Products bf16_products_;
};

}  // namespace dualpath
