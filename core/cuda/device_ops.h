// DeviceOps: the kernels of core/ops.h as launches of the kernels in this folder. A Launcher runs
// them: on a CUDA stream, or in the tests' emulator on the host.
//
//   template <class Kernel> void launch(std::int64_t blocks, int threads, std::size_t shared_bytes,
//                                       const Kernel& kernel);
//   void* workspace(std::size_t bytes);   // until the next call, in the order of the launches
//   int full_grid() const;                // blocks that keep the device busy
//
// Matrix products are the derived class's.
#pragma once

#include <initializer_list>

#include "core/cuda/attention_kernels.h"
#include "core/cuda/elementwise_kernels.h"
#include "core/cuda/loss_kernels.h"
#include "core/cuda/path_kernels.h"
#include "core/cuda/rope_kernels.h"
#include "core/cuda/row_kernels.h"
#include "core/element_types.h"
#include "core/ops_checks.h"

namespace dualpath::gpu {

inline constexpr int block_threads = 256;

// Threads for rows of this width, each with `pack` elements or more.
inline int row_threads(std::int64_t width, int pack) {
  const std::int64_t warps = (width + warp_size * pack - 1) / (warp_size * pack);
  return static_cast<int>(std::min<std::int64_t>(std::max<std::int64_t>(warps, 1), 8)) * warp_size;
}

// Whether four elements of each tensor, in rows of `width`, can be read as one.
inline bool takes_packs(std::int64_t width, std::initializer_list<Tensor> tensors) {
  bool aligned = width % 4 == 0;
  for (const Tensor& tensor : tensors) {
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
    aligned = aligned && address % (4 * size_of(tensor.dtype)) == 0;
  }
  return aligned;
}

// body.operator()<N>() with N = 4 or 1.
template <class Body>
void with_packs(bool packs, const Body& body) {
  if (packs) {
    body.template operator()<4>();
  } else {
    body.template operator()<1>();
  }
}

template <class T>
T* optional(Tensor tensor) {
  return tensor.empty() ? nullptr : tensor.as<T>();
}

template <class Launcher>
class DeviceOps : public Ops {
 public:
  template <class... Args>
  explicit DeviceOps(Args&&... args) : launcher_(std::forward<Args>(args)...) {}

  // Products read weights as they lie.
  void hold_weights() override {}
  void release_weights() override {}

  // ---- movement
  void fill(Tensor out, double value) override {
    const auto run = [&]<class T>() {
      with_packs(takes_packs(out.numel(), {out}), [&]<int N>() {
        launch_elements<N>(out.numel(),
                           Fill<T, N>{out.as<T>(), static_cast<float>(value), out.numel()});
      });
    };
    if (out.dtype == DType::f64) return run.template operator()<double>();
    if (out.dtype == DType::i32) return run.template operator()<std::int32_t>();
    with_type(out, run);
  }
  void copy(Tensor out, Tensor in) override {
    check_copy(out, in);
    with_packs(takes_packs(out.numel(), {out, in}), [&]<int N>() {
      const auto move = [&]<class T>() {
        launch_elements<N>(out.numel(), Move<T, N>{out.as<T>(), in.as<T>(), out.numel()});
      };
      if (in.dtype == DType::i32) return move.template operator()<std::int32_t>();
      if (in.dtype == out.dtype) return with_type(in, move);
      launch_elements<N>(out.numel(), Scaled<float, bfloat16, N>{out.as<bfloat16>(), in.as<float>(),
                                                                 nullptr, out.numel()});
    });
  }
  void add(Tensor out, Tensor in) override {
    check_add(out, in);
    scaled_sum(out, out, in, {});
  }
  void sum(Tensor out, Tensor a, Tensor b) override {
    check_sum(out, a, b);
    scaled_sum(out, a, b, {});
  }

  // ---- embedding
  void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) override {
    check_embedding(out_TD, ids_T, table_VD, rows);
    with_type(out_TD, [&]<class S>() {
      launch_rows(out_TD.rows(), out_TD.cols(),
                  Embedding<S>{out_TD.as<S>(), ids_T.as<std::int32_t>(), table_VD.as<float>(), rows,
                               table_VD.rows(), out_TD.cols()});
    });
  }
  void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                          VocabularyRows rows) override {
    check_embedding_backward(grad_VD, ids_T, dout_TD, rows);
    with_type(dout_TD, [&]<class S>() {
      launch(dout_TD.rows(), block_threads, block_threads / warp_size * sizeof(std::uint32_t),
             EmbeddingBackward<S>{grad_VD.as<float>(), ids_T.as<std::int32_t>(), dout_TD.as<S>(),
                                  rows, grad_VD.rows(), dout_TD.rows(), dout_TD.cols()});
    });
  }

  // ---- norms and residuals
  void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                double epsilon) override {
    check_rms_norm(out_TD, rstd_T, x_TD, weight_D);
    launch_norm({}, out_TD, rstd_T, x_TD, {}, {}, weight_D, epsilon);
  }
  void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                         Tensor gain, Tensor weight_D, double epsilon) override {
    check_residual_rms_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D);
    launch_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D, epsilon);
  }
  void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                         Tensor weight_D, Tensor rstd_T) override {
    check_rms_norm_backward(dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T);
    const std::int64_t tokens = x_TD.rows(), width = x_TD.cols();
    const std::int64_t blocks = summing_blocks(tokens);
    float* partial = partial_sums<float>(blocks, width);
    with_types(x_TD, dout_TD, [&]<class S, class O>() {
      with_packs(takes_packs(width, {dx_TD, dout_TD, x_TD, weight_D}), [&]<int N>() {
        launch(blocks, row_threads(width, N), static_cast<std::size_t>(width) * sizeof(float),
               RmsNormBackward<S, O, N>{dx_TD.as<S>(), partial, dout_TD.as<O>(), x_TD.as<S>(),
                                        weight_D.as<float>(), rstd_T.as<float>(), tokens, width});
      });
    });
    add_columns(dweight_D.as<float>(), partial, blocks, width);
  }
  void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) override {
    check_residual(out_TD, x_TD, y_TD, gain);
    scaled_sum(out_TD, x_TD, y_TD, gain);
  }
  void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) override {
    check_residual_backward(dy_TD, dout_TD, gain);
    with_types(dout_TD, dy_TD, [&]<class S, class O>() {
      with_packs(takes_packs(dy_TD.numel(), {dy_TD, dout_TD}), [&]<int N>() {
        launch_elements<N>(dy_TD.numel(), Scaled<S, O, N>{dy_TD.as<O>(), dout_TD.as<S>(),
                                                          optional<float>(gain), dy_TD.numel()});
      });
    });
  }
  void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) override {
    check_residual_gain_backward(dgain, da, a, gain);
    const std::int64_t blocks = partial_dot(da, a);
    launch(1, warp_size, 0, GainTotal{dgain.as<float>(), partials_, gain.as<float>(), blocks});
  }

  // ---- attention
  void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
               Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape, QkNorm norm,
               double epsilon) override {
    check_qk_rope(q_THE, k_TGE, rstd_TN, qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape,
                  norm);
    check_head_size(shape);
    with_type(qkv_TC, [&]<class O>() {
      const auto rope = rope_shape<O>(qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
      launch_warps(rope.num_heads(), QkRope<O>{q_THE.as<O>(), k_TGE.as<O>(),
                                               optional<float>(rstd_TN), rope, epsilon});
    });
  }
  void qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                        Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                        Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                        QkNorm norm) override {
    check_qk_rope_backward(dqkv_TC, dq_weight_E, dk_weight_E, dq_THE, dk_TGE, rstd_TN, qkv_TC,
                           q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
    check_head_size(shape);
    with_type(qkv_TC, [&]<class O>() {
      const auto rope = rope_shape<O>(qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
      const std::int64_t warps_per_block = block_threads / warp_size;
      const std::int64_t blocks = warp_blocks(rope.num_heads());
      const std::int64_t columns = 2 * shape.head_size;
      float* partial = nullptr;
      if (norm != QkNorm::none) partial = partial_sums<float>(blocks * warps_per_block, columns);
      launch(blocks, block_threads, 0,
             QkRopeBackward<O>{dqkv_TC.as<O>(), partial, dq_THE.as<O>(), dk_TGE.as<O>(),
                               optional<float>(rstd_TN), rope});
      if (norm == QkNorm::none) return;
      add_split_columns(dq_weight_E.as<float>(), dk_weight_E.as<float>(), partial,
                        blocks * warps_per_block, shape.head_size, columns);
    });
  }
  void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                 AttentionShape shape) override {
    check_attention(out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
    check_head_size(shape);
    with_type(q_THE, [&]<class O>() {
      launch_attention(attention_operands<O>(out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape),
                       shape.sequences);
    });
  }
  void cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                        Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) override {
    check_cached_attention(out_THE, log_sum_TH, values_PGE, q_THE, keys_PGE, qkv_TC, shape);
    check_head_size(shape);
    const std::int64_t width = shape.kv_heads * shape.head_size;
    with_type(q_THE, [&]<class O>() {
      launch_elements<1>(shape.positions * width,
                         CacheValues<O>{values_PGE.as<O>(), qkv_TC.as<O>(), shape.positions,
                                        shape.first_position, qkv_TC.cols(), width});
      auto a = attention_operands<O>(out_THE, log_sum_TH, q_THE, keys_PGE, values_PGE, shape);
      a.values = values_PGE.as<O>();
      a.value_stride = width;
      launch_attention(a, 1);
    });
  }
  void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                          Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                          Tensor qkv_TC, AttentionShape shape) override {
    check_attention_backward(dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH, q_THE, k_TGE,
                             qkv_TC, shape);
    check_head_size(shape);
    const std::int64_t rows = shape.tokens() * shape.heads;
    const int size = static_cast<int>(shape.head_size);
    const int threads = attention_warps * warp_size;
    const std::size_t shared = attention_shared_bytes(2 * rows_per_block, 2, size);
    with_type(q_THE, [&]<class O>() {
      const auto a = attention_operands<O>(out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
      float* delta = partial_sums<float>(rows, 1);
      launch_warps(rows, AttentionDelta<O>{delta, dout_THE.as<O>(), out_THE.as<O>(), rows, size});
      const std::int64_t tiles = a.tiles_of_rows * shape.sequences;
      launch(tiles * shape.heads, threads, shared,
             AttentionBackwardQ<O>{a, dq_THE.as<O>(), dout_THE.as<O>(), delta});
      O* dvalues = dqkv_TC.as<O>() + (shape.heads + shape.kv_heads) * shape.head_size;
      launch(tiles * shape.kv_heads, threads, shared,
             AttentionBackwardKv<O>{a, dk_TGE.as<O>(), dvalues, a.key_stride, a.value_stride,
                                    dout_THE.as<O>(), delta});
    });
  }

  // ---- SwiGLU
  void swiglu(Tensor out_TF, Tensor gate_up_T2F) override {
    check_swiglu(out_TF, gate_up_T2F);
    with_type(out_TF, [&]<class O>() {
      with_packs(takes_packs(out_TF.cols(), {out_TF, gate_up_T2F}), [&]<int N>() {
        launch_elements<N>(out_TF.numel(), SwiGlu<O, N>{out_TF.as<O>(), gate_up_T2F.as<O>(),
                                                        out_TF.rows(), out_TF.cols()});
      });
    });
  }
  void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                       Tensor gate_up_T2F) override {
    check_swiglu_backward(dgate_up_T2F, out_TF, dout_TF, gate_up_T2F);
    with_type(out_TF, [&]<class O>() {
      with_packs(takes_packs(out_TF.cols(), {out_TF, dout_TF, dgate_up_T2F, gate_up_T2F}),
                 [&]<int N>() {
                   launch_elements<N>(
                       out_TF.numel(),
                       SwiGluBackward<O, N>{dgate_up_T2F.as<O>(), out_TF.as<O>(), dout_TF.as<O>(),
                                            gate_up_T2F.as<O>(), out_TF.rows(), out_TF.cols()});
                 });
    });
  }

  // ---- deep loop
  void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T, Tensor h_TD,
                    Tensor router_w, Tensor router_b, LoopStep step) override {
    check_mixture_step(h_deep_TD, weight_T, q_T, remaining_T, h_TD, router_w, router_b, step);
    with_type(h_TD, [&]<class S>() {
      launch_rows(h_TD.rows(), h_TD.cols(),
                  MixtureStep<S>{h_deep_TD.as<S>(), weight_T.as<float>(), optional<float>(q_T),
                                 optional<float>(remaining_T), h_TD.as<S>(),
                                 optional<float>(router_w), optional<float>(router_b), step.combine,
                                 step.first(), step.last(), 1 / static_cast<float>(step.iterations),
                                 static_cast<float>(step.feature()), h_TD.cols()});
    });
  }
  void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) override {
    check_row_dot(out_T, a_TD, b_TD);
    with_type(a_TD, [&]<class S>() {
      launch_rows(a_TD.rows(), a_TD.cols(),
                  RowDot<S>{out_T.as<float>(), a_TD.as<S>(), b_TD.as<S>(), a_TD.cols()});
    });
  }
  void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                double ponder_scale) override {
    check_mixture_weights_backward(dlogit_KT, c_KT, q_KT);
    launch_elements<1>(
        c_KT.cols(),
        MixtureWeightsBackward{dlogit_KT.as<float>(), c_KT.as<float>(), q_KT.as<float>(),
                               static_cast<float>(ponder_scale), c_KT.rows(), c_KT.cols()});
  }
  void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b, Tensor dh_deep_TD,
                             Tensor h_TD, Tensor weight_T, Tensor dlogit_T, Tensor router_w,
                             LoopStep step) override {
    check_mixture_step_backward(dh_TD, drouter_w, drouter_b, dh_deep_TD, h_TD, weight_T, dlogit_T,
                                router_w, step);
    const std::int64_t tokens = h_TD.rows(), width = h_TD.cols();
    const bool router = !dlogit_T.empty();
    const std::int64_t blocks = router ? summing_blocks(tokens) : tokens;
    float* partial = router ? partial_sums<float>(blocks, width + 2) : nullptr;
    with_type(h_TD, [&]<class S>() {
      launch(blocks, row_threads(width, 1), static_cast<std::size_t>(width) * sizeof(float),
             MixtureStepBackward<S>{dh_TD.as<S>(), partial, dh_deep_TD.as<S>(), h_TD.as<S>(),
                                    weight_T.as<float>(), optional<float>(dlogit_T),
                                    optional<float>(router_w), static_cast<float>(step.feature()),
                                    tokens, width});
    });
    if (router) {
      add_split_columns(drouter_w.as<float>(), drouter_b.as<float>(), partial, blocks, width + 1,
                        width + 2);
    }
  }
  void expected_iterations(Tensor out_T, Tensor weight_KT) override {
    check_expected_iterations(out_T, weight_KT);
    launch_elements<1>(weight_KT.cols(),
                       ExpectedIterations{out_T.as<float>(), weight_KT.as<float>(),
                                          weight_KT.rows(), weight_KT.cols()});
  }

  // ---- gates
  void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
            Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) override {
    check_gate(y_TD, gates_T2, x_TD, h_deep_TD, h_wide_TD, weight_ND, bias_N, mode);
    with_type(x_TD, [&]<class S>() {
      launch_rows(x_TD.rows(), x_TD.cols(),
                  Gate<S>{y_TD.as<S>(), gates_T2.as<float>(), x_TD.as<S>(), h_deep_TD.as<S>(),
                          h_wide_TD.as<S>(), optional<float>(weight_ND), optional<float>(bias_N),
                          mode, target, static_cast<int>(gate_logits(mode)), x_TD.cols()});
    });
  }
  void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                     Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD, Tensor h_deep_TD,
                     Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND, GateMode mode,
                     GateTarget target) override {
    check_gate_backward(dx_TD, dh_deep_TD, dh_wide_TD, dweight_ND, dbias_N, dy_TD, dgates_T2, x_TD,
                        h_deep_TD, h_wide_TD, gates_T2, weight_ND, mode);
    const std::int64_t tokens = x_TD.rows(), width = x_TD.cols(), logits = gate_logits(mode);
    const std::int64_t blocks = summing_blocks(tokens);
    float* partial = partial_sums<float>(blocks, logits * (width + 1));
    with_type(x_TD, [&]<class S>() {
      launch(blocks, row_threads(width, 1),
             static_cast<std::size_t>(logits * width) * sizeof(float),
             GateBackward<S>{dx_TD.as<S>(), dh_deep_TD.as<S>(), dh_wide_TD.as<S>(), partial,
                             dy_TD.as<S>(), optional<float>(dgates_T2), x_TD.as<S>(),
                             h_deep_TD.as<S>(), h_wide_TD.as<S>(), gates_T2.as<float>(),
                             optional<float>(weight_ND), mode, target, static_cast<int>(logits),
                             tokens, width});
    });
    if (logits == 0) return;
    add_split_columns(dweight_ND.as<float>(), dbias_N.as<float>(), partial, blocks, logits * width,
                      logits * (width + 1));
  }
  void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2, std::int64_t positions,
                        double entropy_scale, double balance_scale) override {
    check_gate_regularizer(dgates_T2, losses_2, gates_T2, positions);
    const std::int64_t sequences = gates_T2.rows() / positions;
    double* partial = partial_sums<double>(sequences, 2);
    launch(sequences, block_threads, 0,
           GateRegularizer{dgates_T2.as<float>(), partial, gates_T2.as<float>(), positions,
                           static_cast<float>(entropy_scale), static_cast<float>(balance_scale)});
    add_columns(losses_2.as<double>(), partial, sequences, 2);
  }
  void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor gates_T2) override {
    check_path_readout(readout_TC, x_TD, h_deep_TD, h_wide_TD, gates_T2);
    with_type(x_TD, [&]<class S>() {
      launch_rows(x_TD.rows(), x_TD.cols(),
                  PathReadoutRow<S>{readout_TC.as<float>(), x_TD.as<S>(), h_deep_TD.as<S>(),
                                    h_wide_TD.as<S>(), gates_T2.as<float>(), x_TD.cols()});
    });
  }
  void column_sums(Tensor out_C, Tensor in_TC) override {
    check_column_sums(out_C, in_TC);
    launch(out_C.numel(), block_threads, 0,
           ColumnSums{out_C.as<double>(), in_TC.as<float>(), in_TC.rows(), out_C.numel()});
  }

  // ---- loss
  void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                     double grad_scale) override {
    check_cross_entropy(loss_T, dlogits_TV, logits_TV, targets_T);
    with_type(dlogits_TV.empty() ? logits_TV : dlogits_TV, [&]<class O>() {
      launch(logits_TV.rows(), block_threads, 0,
             CrossEntropy<O>{loss_T.as<float>(), optional<O>(dlogits_TV), logits_TV.as<float>(),
                             targets_T.as<std::int32_t>(), logits_TV.cols(),
                             static_cast<float>(grad_scale)});
    });
  }
  void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                             VocabularyRows rows) override {
    check_vocabulary_statistics(stats_T3, logits_TV, targets_T, rows);
    launch(logits_TV.rows(), block_threads, 0,
           VocabularyStatistics{stats_T3.as<float>(), logits_TV.as<float>(),
                                targets_T.as<std::int32_t>(), logits_TV.cols(), rows});
  }
  void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor stats_RT3,
                             Tensor targets_T, VocabularyRows rows, double grad_scale) override {
    check_sharded_cross_entropy(loss_T, dlogits_TV, logits_TV, stats_RT3, targets_T, rows);
    with_type(dlogits_TV.empty() ? logits_TV : dlogits_TV, [&]<class O>() {
      launch(logits_TV.rows(), block_threads, 0,
             ShardedCrossEntropy<O>{
                 loss_T.as<float>(), optional<O>(dlogits_TV), logits_TV.as<float>(),
                 stats_RT3.as<float>(), targets_T.as<std::int32_t>(), logits_TV.rows(),
                 logits_TV.cols(), stats_RT3.shape[0], rows, static_cast<float>(grad_scale)});
    });
  }

  // ---- optimizer
  void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
             const AdamWStep& step) override {
    check_adamw(value_N, m_N, v_N, operand_N, gradient_N);
    const auto f = [](double x) { return static_cast<float>(x); };
    with_type(operand_N.empty() ? value_N : operand_N, [&]<class O>() {
      with_packs(
          takes_packs(value_N.numel(), {value_N, m_N, v_N, operand_N, gradient_N}), [&]<int N>() {
            launch_elements<N>(
                value_N.numel(),
                AdamW<O, N>{value_N.as<float>(), m_N.as<float>(), v_N.as<float>(),
                            optional<O>(operand_N), gradient_N.as<float>(), f(step.learning_rate),
                            f(step.beta1), f(step.beta2), f(1 - step.beta1), f(1 - step.beta2),
                            f(step.epsilon), f(step.weight_decay), f(step.correction1),
                            f(step.correction2), f(step.gradient_scale), value_N.numel()});
          });
    });
  }
  void sum_of_squares(Tensor out, Tensor x_N) override {
    check_sum_of_squares(out, x_N);
    const std::int64_t blocks = partial_dot(x_N, x_N);
    add_columns(out.as<double>(), partials_, blocks, 1);
  }

 protected:
  // out = count matrices [rows, columns], transposed
  void exchange_rows_and_columns(Tensor out, Tensor in, std::int64_t count, std::int64_t rows,
                                 std::int64_t columns) {
    launch_elements<1>(
        out.numel(), ExchangeRowsAndColumns{out.as<float>(), in.as<float>(), count, rows, columns});
  }
  Launcher launcher_;

 private:
  template <class Kernel>
  void launch(std::int64_t blocks, int threads, std::size_t shared_bytes, const Kernel& kernel) {
    if (blocks > 0) launcher_.launch(blocks, threads, shared_bytes, kernel);
  }
  // A block a row.
  template <class Kernel>
  void launch_rows(std::int64_t rows, std::int64_t width, const Kernel& kernel) {
    launch(rows, row_threads(width, 1), 0, kernel);
  }
  // Threads for packs of N elements; what does not fit the grid comes in later turns.
  template <int N, class Kernel>
  void launch_elements(std::int64_t count, const Kernel& kernel) {
    const std::int64_t wanted = (count + block_threads * N - 1) / (block_threads * N);
    launch(std::min<std::int64_t>(wanted, 8 * launcher_.full_grid()), block_threads, 0, kernel);
  }
  std::int64_t warp_blocks(std::int64_t items) const {
    const std::int64_t warps = block_threads / warp_size;
    return std::min<std::int64_t>((items + warps - 1) / warps, 4 * launcher_.full_grid());
  }
  template <class Kernel>
  void launch_warps(std::int64_t items, const Kernel& kernel) {
    launch(warp_blocks(items), block_threads, 0, kernel);
  }

  // Blocks that share the rows of a sum over tokens.
  std::int64_t summing_blocks(std::int64_t tokens) const {
    return std::min<std::int64_t>(tokens, launcher_.full_grid());
  }
  template <class T>
  T* partial_sums(std::int64_t blocks, std::int64_t columns) {
    return static_cast<T*>(
        launcher_.workspace(static_cast<std::size_t>(blocks * columns) * sizeof(T)));
  }
  template <class T>
  void add_columns(T* total, const T* partial, std::int64_t blocks, std::int64_t columns) {
    launch_elements<1>(columns, ColumnTotals<T>{total, partial, blocks, columns});
  }
  void add_split_columns(float* first, float* second, const float* partial, std::int64_t blocks,
                         std::int64_t first_columns, std::int64_t columns) {
    launch_elements<1>(columns,
                       SplitTotals{first, second, partial, blocks, first_columns, columns});
  }
  // partials_[blocks] = Σ a·b; returns the number of blocks.
  std::int64_t partial_dot(Tensor a, Tensor b) {
    const std::int64_t blocks = std::min<std::int64_t>(
        (a.numel() + block_threads - 1) / block_threads, 2 * launcher_.full_grid());
    partials_ = partial_sums<double>(blocks, 1);
    with_type(a, [&]<class T>() {
      launch(blocks, block_threads, 0,
             PartialDot<T, T>{partials_, a.as<T>(), b.as<T>(), a.numel()});
    });
    return blocks;
  }

  void scaled_sum(Tensor out, Tensor a, Tensor b, Tensor gain) {
    with_packs(takes_packs(out.numel(), {out, a, b}), [&]<int N>() {
      with_type(out, [&]<class A>() {
        with_type(b, [&]<class B>() {
          launch_elements<N>(out.numel(), ScaledSum<A, B, N>{out.as<A>(), a.as<A>(), b.as<B>(),
                                                             optional<float>(gain), out.numel()});
        });
      });
    });
  }
  void launch_norm(Tensor sum_TD, Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                   Tensor gain, Tensor weight_D, double epsilon) {
    const std::int64_t width = x_TD.cols();
    with_types(x_TD, out_TD, [&]<class S, class O>() {
      with_packs(takes_packs(width, {sum_TD, out_TD, x_TD, y_TD, weight_D}), [&]<int N>() {
        launch(x_TD.rows(), row_threads(width, N), 0,
               RmsNorm<S, O, N>{optional<S>(sum_TD), out_TD.as<O>(), rstd_T.as<float>(),
                                x_TD.as<S>(), optional<O>(y_TD), optional<float>(gain),
                                weight_D.as<float>(), width, epsilon});
      });
    });
  }
  static void check_head_size(const AttentionShape& shape) {
    CHECK_AS(ExitCode::configuration, shape.head_size <= max_head_size,
             "the GPU's attention takes heads of up to {} elements, not {}", max_head_size,
             shape.head_size);
  }
  template <class O>
  static RopeShape<O> rope_shape(Tensor qkv_TC, Tensor q_weight_E, Tensor k_weight_E, Tensor cos_PR,
                                 Tensor sin_PR, const AttentionShape& shape, QkNorm norm) {
    return {qkv_TC.as<O>(),
            optional<float>(q_weight_E),
            optional<float>(k_weight_E),
            cos_PR.as<float>(),
            sin_PR.as<float>(),
            shape.tokens(),
            shape.positions,
            shape.first_position,
            static_cast<int>(shape.heads),
            static_cast<int>(shape.kv_heads),
            static_cast<int>(shape.head_size),
            norm};
  }
  // Keys in [.., G, E]; values in the last columns of qkv_TC, where they are not in a cache.
  template <class O>
  static AttentionOperands<O> attention_operands(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE,
                                                 Tensor keys, Tensor qkv_TC,
                                                 const AttentionShape& shape) {
    const std::int64_t tiles = (shape.positions + rows_per_block - 1) / rows_per_block;
    return {out_THE.as<O>(),
            log_sum_TH.as<float>(),
            q_THE.as<O>(),
            keys.as<O>(),
            qkv_TC.as<O>() + (shape.heads + shape.kv_heads) * shape.head_size,
            shape.kv_heads * shape.head_size,
            (shape.heads + 2 * shape.kv_heads) * shape.head_size,
            shape.positions,
            shape.first_position,
            static_cast<int>(shape.heads),
            static_cast<int>(shape.kv_heads),
            static_cast<int>(shape.head_size),
            static_cast<int>(tiles),
            1 / std::sqrt(static_cast<float>(shape.head_size))};
  }
  template <class O>
  void launch_attention(const AttentionOperands<O>& a, std::int64_t sequences) {
    launch(sequences * a.heads * a.tiles_of_rows, attention_warps * warp_size,
           attention_shared_bytes(rows_per_block, 2, a.head_size), Attention<O>{a});
  }

  double* partials_ = nullptr;
};

}  // namespace dualpath::gpu
