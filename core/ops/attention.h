// Rotary position (arXiv 2104.09864, half-split) with per-head RMSNorm of q and k, and causal
// attention with scale 1/√E, per sequence, without a positions × positions matrix in memory.
//
// qkv_TC holds per token H query heads, G key heads, G value heads, each of E elements:
// C = (H+2G)·E.
#pragma once

#include <cstdint>

#include "core/ops/contract.h"

namespace dualpath {

struct AttentionShape {
  std::int64_t sequences;  // attention never crosses a sequence
  std::int64_t positions;  // tokens per sequence
  std::int64_t heads;      // H
  std::int64_t kv_heads;   // G, divides H; query head i reads key/value head i / (H/G)
  std::int64_t head_size;  // E, even
  // Where each sequence's first token stands: not 0 where earlier tokens are in a cache.
  std::int64_t first_position = 0;

  std::int64_t tokens() const { return sequences * positions; }
  std::int64_t end_position() const { return first_position + positions; }
  // The shapes of operands.
  Shape THE() const { return {tokens(), heads, head_size}; }
  Shape TGE() const { return {tokens(), kv_heads, head_size}; }
  Shape TC() const { return {tokens(), (heads + 2 * kv_heads) * head_size}; }
  Shape TN() const { return {tokens(), heads + kv_heads}; }
  Shape TH() const { return {tokens(), heads}; }

  // FLOPs of one product with the scores that causality leaves: half of positions × positions, and
  // all of those with tokens in the cache.
  double causal_product_flops() const {
    return static_cast<double>(tokens() * heads * head_size) *
           static_cast<double>(positions + 2 * first_position);
  }
  // The bytes of qkv_TC's query and key columns, and of its value columns.
  double query_key_bytes(const Tensor& qkv_TC) const {
    return static_cast<double>(qkv_TC.bytes()) * static_cast<double>(heads + kv_heads) /
           static_cast<double>(heads + 2 * kv_heads);
  }
  double value_bytes(const Tensor& qkv_TC) const {
    return static_cast<double>(qkv_TC.bytes()) - query_key_bytes(qkv_TC);
  }
  void require(Contract& call) const {
    const bool positive = sequences >= 0 && positions > 0 && heads > 0 && kv_heads > 0;
    call.require(positive, "sizes must be positive");
    call.require(positive && heads % kv_heads == 0, "{} key/value heads do not divide {} heads",
                 kv_heads, heads);
    call.require(head_size > 0 && head_size % 2 == 0, "head size {} is not even", head_size);
    call.require(first_position >= 0, "the first position is {}", first_position);
  }
  void require_no_past(Contract& call) const {
    call.require(first_position == 0, "the first position must be 0, is {}", first_position);
  }
};

enum class QkNorm { after_rope, before_rope, none };

namespace op {

// The angles of P >= first_position + positions positions, R = E/2: token t stands at position
// p = first_position + t mod positions and rotates (x_i, x_{i+R}) by angle [p, i].
inline void read_angles(Contract& call, const Tensor& cos_PR, const Tensor& sin_PR,
                        const AttentionShape& shape) {
  call.rank("cos", cos_PR, 2);
  call.require(cos_PR.shape[0] >= shape.end_position(), "cos has {} positions, {} are needed",
               cos_PR.shape[0], shape.end_position());
  const Shape PR{cos_PR.shape[0], shape.head_size / 2};
  call.read("cos", cos_PR, TypeClass::master, PR);
  call.read("sin", sin_PR, TypeClass::master, PR);
}

// after_rope: q = norm(rotate(q0)); before_rope: q = rotate(norm(q0)); none: q = rotate(q0),
// without weights and rstd. k likewise. rstd_TN, N = H+G: query heads first. Values are not
// touched.
struct QkRope {
  static constexpr const char* name = "qk_rope";
  Tensor q_THE, k_TGE;
  Tensor rstd_TN = {};
  Tensor qkv_TC;
  Tensor q_weight_E = {}, k_weight_E = {};
  Tensor cos_PR, sin_PR;
  AttentionShape shape;
  QkNorm norm;
  double epsilon;

  void operands(Contract& call) const {
    shape.require(call);
    const bool normed = norm != QkNorm::none;
    call.write("q", q_THE, TypeClass::operand, shape.THE());
    call.write("k", k_TGE, TypeClass::operand, shape.TGE());
    call.write_if(normed, "rstd", rstd_TN, TypeClass::master, shape.TN());
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
    call.read_if(normed, "q_weight", q_weight_E, TypeClass::master, {shape.head_size});
    call.read_if(normed, "k_weight", k_weight_E, TypeClass::master, {shape.head_size});
    read_angles(call, cos_PR, sin_PR, shape);
  }
  double untouched_bytes() const { return shape.value_bytes(qkv_TC); }
};

// dqkv = the gradient in its query and key columns (value columns untouched); dq_weight +=,
// dk_weight +=
struct QkRopeBackward {
  static constexpr const char* name = "qk_rope_backward";
  Tensor dqkv_TC;
  Tensor dq_weight_E = {}, dk_weight_E = {};
  Tensor dq_THE, dk_TGE;
  Tensor rstd_TN = {};
  Tensor qkv_TC;
  Tensor q_weight_E = {}, k_weight_E = {};
  Tensor cos_PR, sin_PR;
  AttentionShape shape;
  QkNorm norm;

  void operands(Contract& call) const {
    shape.require(call);
    const bool normed = norm != QkNorm::none;
    call.write("dqkv", dqkv_TC, TypeClass::operand, shape.TC());
    call.update_if(normed, "dq_weight", dq_weight_E, TypeClass::master, {shape.head_size});
    call.update_if(normed, "dk_weight", dk_weight_E, TypeClass::master, {shape.head_size});
    call.read("dq", dq_THE, TypeClass::operand, shape.THE());
    call.read("dk", dk_TGE, TypeClass::operand, shape.TGE());
    call.read_if(normed, "rstd", rstd_TN, TypeClass::master, shape.TN());
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
    call.read_if(normed, "q_weight", q_weight_E, TypeClass::master, {shape.head_size});
    call.read_if(normed, "k_weight", k_weight_E, TypeClass::master, {shape.head_size});
    read_angles(call, cos_PR, sin_PR, shape);
  }
  double untouched_bytes() const { return shape.value_bytes(dqkv_TC) + shape.value_bytes(qkv_TC); }
};

// out[t,h] = Σ_{j<=t} softmax_j(q[t,h]·k[j,g]/√E)·v[j,g]; log_sum_TH = log Σ_j exp(score).
// v is read from the value columns of qkv.
struct Attention {
  static constexpr const char* name = "attention";
  Tensor out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC;
  AttentionShape shape;  // first_position is 0

  void operands(Contract& call) const {
    shape.require(call);
    shape.require_no_past(call);
    call.write("out", out_THE, TypeClass::operand, shape.THE());
    call.write("log_sum", log_sum_TH, TypeClass::master, shape.TH());
    call.read("q", q_THE, TypeClass::operand, shape.THE());
    call.read("k", k_TGE, TypeClass::operand, shape.TGE());
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
  }
  double flops() const { return 2 * shape.causal_product_flops(); }
  double untouched_bytes() const { return shape.query_key_bytes(qkv_TC); }
};

// dq =, dk =, value columns of dqkv = (the others untouched)
struct AttentionBackward {
  static constexpr const char* name = "attention_backward";
  Tensor dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC;
  AttentionShape shape;  // first_position is 0

  void operands(Contract& call) const {
    shape.require(call);
    shape.require_no_past(call);
    call.write("dq", dq_THE, TypeClass::operand, shape.THE());
    call.write("dk", dk_TGE, TypeClass::operand, shape.TGE());
    call.write("dqkv", dqkv_TC, TypeClass::operand, shape.TC());
    call.read("dout", dout_THE, TypeClass::operand, shape.THE());
    call.read("out", out_THE, TypeClass::operand, shape.THE());
    call.read("log_sum", log_sum_TH, TypeClass::master, shape.TH());
    call.read("q", q_THE, TypeClass::operand, shape.THE());
    call.read("k", k_TGE, TypeClass::operand, shape.TGE());
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
  }
  // Five products: the scores again, then the gradients of q, k, v and of the scores' softmax.
  double flops() const { return 5 * shape.causal_product_flops(); }
  double untouched_bytes() const {
    return shape.query_key_bytes(dqkv_TC) + shape.query_key_bytes(qkv_TC);
  }
};

// Attention of tokens that continue a cache: one sequence, token t at position
// p = first_position + t; keys_PGE and values_PGE (P >= first_position + positions) hold a row for
// each position. keys has the new tokens' rows already; values gets them from the value columns of
// qkv. out[t,h] = Σ_{j<=p} softmax_j(q[t,h]·keys[j,g]/√E)·values[j,g]; log_sum as in Attention.
struct CachedAttention {
  static constexpr const char* name = "cached_attention";
  Tensor out_THE, log_sum_TH, values_PGE, q_THE, keys_PGE, qkv_TC;
  AttentionShape shape;

  void operands(Contract& call) const {
    shape.require(call);
    call.require(shape.sequences == 1, "one sequence, not {}", shape.sequences);
    call.rank("keys", keys_PGE, 3);
    call.require(keys_PGE.shape[0] >= shape.end_position(), "keys has {} positions, {} are needed",
                 keys_PGE.shape[0], shape.end_position());
    const Shape PGE{keys_PGE.shape[0], shape.kv_heads, shape.head_size};
    call.write("out", out_THE, TypeClass::operand, shape.THE());
    call.write("log_sum", log_sum_TH, TypeClass::master, shape.TH());
    call.update("values", values_PGE, TypeClass::operand, PGE);
    call.read("q", q_THE, TypeClass::operand, shape.THE());
    call.read("keys", keys_PGE, TypeClass::operand, PGE);
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
  }
  double flops() const { return 2 * shape.causal_product_flops(); }
  // No row of the cache is both read and written, and later positions are neither.
  double untouched_bytes() const {
    const std::int64_t cache_rows = 3 * keys_PGE.rows() - 2 * shape.end_position();
    return bytes_of_rows(keys_PGE, cache_rows) + shape.query_key_bytes(qkv_TC);
  }
};

// Attention of texts that share beginnings, each token of them in one row. Segment s is the rows
// [begin, end) = segments_S3[s, 0:2]. It continues its parent, segment segments_S3[s, 2] < s, or
// starts a text if that is -1. A row attends to the rows of its segment up to itself and to all
// rows of the parent, of the parent's parent and so on; out as in Attention. The segments cover all
// T rows, each once.
struct SegmentAttention {
  static constexpr const char* name = "segment_attention";
  Tensor out_THE, q_THE, k_TGE, qkv_TC;
  Tensor segments_S3;
  AttentionShape shape;          // one sequence of T positions
  std::int64_t longest_segment;  // rows
  double pairs;                  // of a row and a row that it attends to

  void operands(Contract& call) const {
    shape.require(call);
    shape.require_no_past(call);
    call.require(shape.sequences == 1, "one sequence, not {}", shape.sequences);
    call.rank("segments", segments_S3, 2);
    call.require(0 < longest_segment && longest_segment <= shape.positions,
                 "the longest segment has {} of {} rows", longest_segment, shape.positions);
    call.write("out", out_THE, TypeClass::operand, shape.THE());
    call.read("q", q_THE, TypeClass::operand, shape.THE());
    call.read("k", k_TGE, TypeClass::operand, shape.TGE());
    call.read("qkv", qkv_TC, TypeClass::operand, shape.TC());
    call.read("segments", segments_S3, TypeClass::i32, {segments_S3.shape[0], 3});
  }
  double flops() const { return 4 * pairs * static_cast<double>(shape.heads * shape.head_size); }
  double untouched_bytes() const { return shape.query_key_bytes(qkv_TC); }
};

}  // namespace op
}  // namespace dualpath
