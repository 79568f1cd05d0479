// The contract of every operation of core/ops.h on shapes, types and aliasing, for any backend to
// call first. A breach throws Error(internal) that names the operation and the operand. Tensors of
// one kind (NumericTypes) must have one type; whether a backend has kernels for it, it says itself.
// Only views are looked at, never memory.
#pragma once

#include "core/ops.h"

namespace dualpath {

void check_copy(Tensor out, Tensor in);
void check_add(Tensor out, Tensor in);
void check_sum(Tensor out, Tensor a, Tensor b);

void check_embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows);
void check_embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD, VocabularyRows rows);

void check_matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags);

void check_rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D);
void check_rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                             Tensor weight_D, Tensor rstd_T);

void check_residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain);
void check_residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD,
                             Tensor y_TD, Tensor gain, Tensor weight_D);
void check_residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain);
void check_residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain);

void check_qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                   Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                   QkNorm norm);
void check_qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                            Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                            Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                            QkNorm norm);

void check_attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                     AttentionShape shape);
void check_attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                              Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                              Tensor qkv_TC, AttentionShape shape);

void check_cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                            Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape);

void check_swiglu(Tensor out_TF, Tensor gate_up_T2F);
void check_swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF, Tensor gate_up_T2F);

void check_mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T,
                        Tensor h_TD, Tensor router_w, Tensor router_b, LoopStep step);
void check_row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD);
void check_mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT);
void check_mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b,
                                 Tensor dh_deep_TD, Tensor h_TD, Tensor weight_T, Tensor dlogit_T,
                                 Tensor router_w, LoopStep step);
void check_expected_iterations(Tensor out_T, Tensor weight_KT);

void check_gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                Tensor weight_ND, Tensor bias_N, GateMode mode);
void check_gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                         Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD,
                         Tensor h_deep_TD, Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND,
                         GateMode mode);
void check_gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2,
                            std::int64_t positions);
void check_path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                        Tensor gates_T2);
void check_column_sums(Tensor out_C, Tensor in_TC);

void check_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T);
void check_vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                                 VocabularyRows rows);
void check_sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                                 Tensor stats_RT3, Tensor targets_T, VocabularyRows rows);

void check_adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N);
void check_sum_of_squares(Tensor out, Tensor x_N);

// Rows of the gate's weight: 2, 1 (convex) or 0 (fixed).
std::int64_t gate_logits(GateMode mode);

}  // namespace dualpath
