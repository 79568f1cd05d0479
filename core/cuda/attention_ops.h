// Rotary position and attention: the launches of rope_kernels.h and attention_kernels.h.
#pragma once

#include "core/cuda/attention_kernels.h"
#include "core/cuda/launching_ops.h"
#include "core/cuda/rope_kernels.h"

namespace dualpath::gpu {

template <class Base>
class AttentionOps : public Base {
 public:
  using Base::Base;

  void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
               Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape, QkNorm norm,
               double epsilon) override {
    check_qk_rope(q_THE, k_TGE, rstd_TN, qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape,
                  norm);
    check_head_size(shape);
    with_type(qkv_TC, [&]<class O>() {
      const auto rope = rope_shape<O>(qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
      this->launch_warps(rope.num_heads(), QkRope<O>{q_THE.as<O>(), k_TGE.as<O>(),
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
      const std::int64_t blocks = this->warp_blocks(rope.num_heads());
      const std::int64_t columns = 2 * shape.head_size;
      float* partial = nullptr;
      if (norm != QkNorm::none) partial = this->partial_floats(blocks * warps_per_block, columns);
      this->launch(blocks, block_threads, 0,
                   QkRopeBackward<O>{dqkv_TC.as<O>(), partial, dq_THE.as<O>(), dk_TGE.as<O>(),
                                     optional<float>(rstd_TN), rope});
      if (norm == QkNorm::none) return;
      this->add_split_columns(dq_weight_E.as<float>(), dk_weight_E.as<float>(), partial,
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
      this->launch_elements(shape.positions * width, 1,
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
      float* delta = this->partial_floats(rows, 1);
      this->launch_warps(rows,
                         AttentionDelta<O>{delta, dout_THE.as<O>(), out_THE.as<O>(), rows, size});
      const std::int64_t tiles = a.tiles_of_rows * shape.sequences;
      this->launch(tiles * shape.heads, threads, shared,
                   AttentionBackwardQ<O>{a, dq_THE.as<O>(), dout_THE.as<O>(), delta});
      O* dvalues = dqkv_TC.as<O>() + (shape.heads + shape.kv_heads) * shape.head_size;
      this->launch(tiles * shape.kv_heads, threads, shared,
                   AttentionBackwardKv<O>{a, dk_TGE.as<O>(), dvalues, a.key_stride, a.value_stride,
                                          dout_THE.as<O>(), delta});
    });
  }

 protected:
  // out = count matrices [rows, columns], transposed
  void exchange_rows_and_columns(Tensor out, Tensor in, std::int64_t count, std::int64_t rows,
                                 std::int64_t columns) {
    this->launch_elements(
        out.numel(), 1,
        ExchangeRowsAndColumns{out.as<float>(), in.as<float>(), count, rows, columns});
  }

 private:
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
    this->launch(sequences * a.heads * a.tiles_of_rows, attention_warps * warp_size,
                 attention_shared_bytes(rows_per_block, 2, a.head_size), Attention<O>{a});
  }
};

}  // namespace dualpath::gpu
