#include "model/attention.h"

namespace dualpath {

Attention::Attention(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
                     double output_std, std::int64_t num_norms)
    : norm_(store, prefix + ".attention_norm", config.hidden_size, num_norms, config.norm_epsilon),
      qk_norm_(config.qk_norm),
      epsilon_(config.norm_epsilon) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t head_size = config.head_size();
  const std::int64_t query_rows = config.attention_heads * head_size;
  const std::int64_t key_rows = config.kv_heads * head_size;
  const ParameterInit ones{ParameterInit::Law::constant, 1};
  const ParameterInit normal{ParameterInit::Law::normal, config.init_std};
  query_ = store.declare({prefix + ".query", {query_rows, d}, normal, true, true});
  store.declare({prefix + ".key", {key_rows, d}, normal, true, true, true});
  store.declare({prefix + ".value", {key_rows, d}, normal, true, true, true});
  if (qk_norm_ != QkNorm::none) {
    query_norm_ = store.declare({prefix + ".query_norm", {head_size}, ones, false});
    key_norm_ = store.declare({prefix + ".key_norm", {head_size}, ones, false});
  }
  output_ = store.declare(
      {prefix + ".output", {query_rows, d}, {ParameterInit::Law::normal, output_std}, true, true});
}

AttentionStash Attention::allocate_stash(const Context& ctx, Arena& arena) const {
  const AttentionShape& s = ctx.shape;
  const NumericTypes& types = ctx.types();
  AttentionStash stash;
  stash.qkv_TC = arena.allocate(
      types.operand, {s.tokens(), (s.heads + 2 * s.kv_heads) * s.head_size}, "attention");
  if (qk_norm_ != QkNorm::none) {
    stash.qk_rstd_TN =
        arena.allocate(types.master, {s.tokens(), s.heads + s.kv_heads}, "attention");
  }
  stash.attended_TA =
      arena.allocate(types.operand, {s.tokens(), s.heads * s.head_size}, "attention");
  stash.log_sum_TH = arena.allocate(types.master, {s.tokens(), s.heads}, "attention");
  return stash;
}

namespace {
Tensor per_head(Tensor flat, std::int64_t heads, std::int64_t head_size) {
  return flat.reshape({flat.rows(), heads, head_size});
}
Tensor scratch_TGE(const Context& ctx) {
  const AttentionShape& s = ctx.shape;
  return ctx.scratch.allocate(ctx.types().operand, {s.tokens(), s.kv_heads, s.head_size},
                              "attention");
}
Tensor optional_value(const Context& ctx, Parameter parameter) {
  return parameter ? ctx.parameters.value(parameter) : Tensor{};
}
Tensor optional_gradient(const Context& ctx, Parameter parameter) {
  return parameter ? ctx.parameters.gradient(parameter) : Tensor{};
}
}  // namespace

// The rotated q and k are cheap to make from qkv again, so the backward pass does not keep them.
Attention::RotatedQk Attention::rotate(const Context& ctx, const AttentionStash& stash,
                                       Tensor k_TGE) const {
  const AttentionShape& s = ctx.shape;
  RotatedQk qk;
  qk.q_THE =
      ctx.scratch.allocate(ctx.types().operand, {s.tokens(), s.heads, s.head_size}, "attention");
  qk.k_TGE = k_TGE;
  ctx.ops.run(op::QkRope{.q_THE = qk.q_THE,
                         .k_TGE = qk.k_TGE,
                         .rstd_TN = stash.qk_rstd_TN,
                         .qkv_TC = stash.qkv_TC,
                         .q_weight_E = optional_value(ctx, query_norm_),
                         .k_weight_E = optional_value(ctx, key_norm_),
                         .cos_PR = ctx.rope.cos_PR,
                         .sin_PR = ctx.rope.sin_PR,
                         .shape = s,
                         .norm = qk_norm_,
                         .epsilon = epsilon_});
  return qk;
}

void Attention::forward(const Context& ctx, AttentionStash& stash, Tensor normed_TD,
                        Tensor y_TD) const {
  // qkv = normed·[W_q; W_k; W_v]ᵀ
  ctx.ops.run(op::Matmul{.c = stash.qkv_TC,
                         .a = normed_TD,
                         .b = ctx.parameters.fused_operand(query_, 3),
                         .flags = {.transpose_b = true}});
  if (ctx.cache != nullptr) {
    attend_to_cache(ctx, stash);
  } else if (ctx.segments != nullptr) {
    attend_to_segments(ctx, stash);
  } else {
    attend(ctx, stash);
  }
  ctx.ops.run(op::Matmul{.c = y_TD, .a = stash.attended_TA, .b = ctx.parameters.operand(output_)});
}

void Attention::attend(const Context& ctx, const AttentionStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const AttentionShape& s = ctx.shape;
  const RotatedQk qk = rotate(ctx, stash, scratch_TGE(ctx));
  ctx.ops.run(op::Attention{.out_THE = per_head(stash.attended_TA, s.heads, s.head_size),
                            .log_sum_TH = stash.log_sum_TH,
                            .q_THE = qk.q_THE,
                            .k_TGE = qk.k_TGE,
                            .qkv_TC = stash.qkv_TC,
                            .shape = s});
}

void Attention::attend_to_cache(const Context& ctx, const AttentionStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const AttentionShape& s = ctx.shape;
  const KvCache::Entry past = ctx.cache->next();
  const Tensor new_keys_TGE = past.keys_PGE.slice(s.first_position, s.first_position + s.positions);
  const RotatedQk qk = rotate(ctx, stash, new_keys_TGE);
  ctx.ops.run(op::CachedAttention{.out_THE = per_head(stash.attended_TA, s.heads, s.head_size),
                                  .log_sum_TH = stash.log_sum_TH,
                                  .values_PGE = past.values_PGE,
                                  .q_THE = qk.q_THE,
                                  .keys_PGE = past.keys_PGE,
                                  .qkv_TC = stash.qkv_TC,
                                  .shape = s});
}

void Attention::attend_to_segments(const Context& ctx, const AttentionStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const AttentionShape& s = ctx.shape;
  const RotatedQk qk = rotate(ctx, stash, scratch_TGE(ctx));
  ctx.ops.run(op::SegmentAttention{.out_THE = per_head(stash.attended_TA, s.heads, s.head_size),
                                   .q_THE = qk.q_THE,
                                   .k_TGE = qk.k_TGE,
                                   .qkv_TC = stash.qkv_TC,
                                   .segments_S3 = ctx.segments->table_S3,
                                   .shape = s,
                                   .longest_segment = ctx.segments->longest,
                                   .pairs = ctx.segments->pairs});
}

void Attention::backward(const Context& ctx, const AttentionStash& stash, Tensor dnormed_TD,
                         Tensor dy_TD, Tensor normed_TD, const Gain& gain) const {
  const ArenaFrame frame(ctx.scratch);
  const AttentionShape& s = ctx.shape;
  Ops& ops = ctx.ops;
  const auto scratch_like = [&](Tensor t) {
    return ctx.scratch.allocate(t.dtype, t.shape, "attention");
  };
  // y = attended·W_o
  const Tensor dattended_TA = scratch_like(stash.attended_TA);
  ops.run(op::Matmul{.c = dattended_TA,
                     .a = dy_TD,
                     .b = ctx.parameters.operand(output_),
                     .flags = {.transpose_b = true}});
  ops.run(op::Matmul{.c = ctx.parameters.gradient(output_),
                     .a = stash.attended_TA,
                     .b = dy_TD,
                     .flags = {.transpose_a = true, .accumulate = true}});
  accumulate_gain_gradient(ctx, gain, dattended_TA, stash.attended_TA);

  const RotatedQk qk = rotate(ctx, stash, scratch_TGE(ctx));
  const Tensor dq_THE = scratch_like(qk.q_THE);
  const Tensor dk_TGE = scratch_like(qk.k_TGE);
  const Tensor dqkv_TC = scratch_like(stash.qkv_TC);
  ops.run(op::AttentionBackward{.dq_THE = dq_THE,
                                .dk_TGE = dk_TGE,
                                .dqkv_TC = dqkv_TC,
                                .dout_THE = per_head(dattended_TA, s.heads, s.head_size),
                                .out_THE = per_head(stash.attended_TA, s.heads, s.head_size),
                                .log_sum_TH = stash.log_sum_TH,
                                .q_THE = qk.q_THE,
                                .k_TGE = qk.k_TGE,
                                .qkv_TC = stash.qkv_TC,
                                .shape = s});
  ops.run(op::QkRopeBackward{.dqkv_TC = dqkv_TC,
                             .dq_weight_E = optional_gradient(ctx, query_norm_),
                             .dk_weight_E = optional_gradient(ctx, key_norm_),
                             .dq_THE = dq_THE,
                             .dk_TGE = dk_TGE,
                             .rstd_TN = stash.qk_rstd_TN,
                             .qkv_TC = stash.qkv_TC,
                             .q_weight_E = optional_value(ctx, query_norm_),
                             .k_weight_E = optional_value(ctx, key_norm_),
                             .cos_PR = ctx.rope.cos_PR,
                             .sin_PR = ctx.rope.sin_PR,
                             .shape = s,
                             .norm = qk_norm_});

  ops.run(op::Matmul{.c = dnormed_TD, .a = dqkv_TC, .b = ctx.parameters.fused_operand(query_, 3)});
  ops.run(op::Matmul{.c = ctx.parameters.fused_gradient(query_, 3),
                     .a = dqkv_TC,
                     .b = normed_TD,
                     .flags = {.transpose_a = true, .accumulate = true}});
}

}  // namespace dualpath
