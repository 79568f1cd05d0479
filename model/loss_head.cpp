#include "model/loss_head.h"

#include <algorithm>

namespace dualpath {

LossHead::Tokens LossHead::gather(const Context& ctx, Tensor loss_T, Tensor x_TD,
                                  Tensor targets_T) const {
  if (!weight_.is_cut(ctx)) {
    const Norm::Output n = norm_.forward(ctx, x_TD, 0);
    return {n.rstd_T, n.normed_TD, targets_T, loss_T};
  }
  const std::int64_t tokens = ctx.group_tokens();
  Tokens all;
  all.rstd_T = ctx.scratch.allocate(ctx.types().master, {x_TD.rows()}, "vocabulary");
  all.normed_SD = ctx.scratch.allocate(ctx.types().operand, {tokens, norm_.width()}, "vocabulary");
  all.loss_S = ctx.scratch.allocate(ctx.types().master, {tokens}, "vocabulary");
  norm_.forward(ctx, {ctx.tensor.own_part(all.normed_SD), all.rstd_T}, x_TD, 0);
  ctx.tensor.start_all_gather(all.normed_SD);
  all.targets_S = gather_tokens(ctx, targets_T);  // waits for both
  return all;
}

// Calls chunk(begin, end, logits) with the logits of tokens [begin, end).
template <class Chunk>
void LossHead::for_each_chunk(const Context& ctx, Tensor normed_SD, Chunk chunk) const {
  const ArenaFrame frame(ctx.scratch);
  const PackedWeightsScope held(ctx.ops);
  const Tensor weight_VD = weight_.operand(ctx);
  const std::int64_t tokens = normed_SD.rows();
  const Tensor logits_TV = ctx.scratch.allocate(
      ctx.types().master, {std::min(chunk_tokens_, tokens), weight_VD.rows()}, "loss head");
  for (std::int64_t begin = 0; begin < tokens; begin += chunk_tokens_) {
    const std::int64_t end = std::min(begin + chunk_tokens_, tokens);
    const Tensor chunk_logits = logits_TV.slice(0, end - begin);
    ctx.ops.run(op::Matmul{.c = chunk_logits,
                           .a = normed_SD.slice(begin, end),
                           .b = weight_VD,
                           .flags = {.transpose_b = true}});
    chunk(begin, end, chunk_logits);
  }
}

// Ops::cross_entropy of some tokens, whole or from this rank's logits with all ranks' statistics.
void LossHead::cross_entropy(const Context& ctx, Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                             Tensor targets_T, double grad_scale) const {
  if (!weight_.is_cut(ctx)) {
    ctx.ops.run(op::CrossEntropy{.loss_T = loss_T,
                                 .dlogits_TV = dlogits_TV,
                                 .logits_TV = logits_TV,
                                 .targets_T = targets_T,
                                 .grad_scale = grad_scale});
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const VocabularyRows rows = weight_.rows(ctx);
  const std::int64_t tokens = logits_TV.rows();
  const Tensor stats_RT3 =
      ctx.scratch.allocate(ctx.types().master, {ctx.tensor.size(), tokens, 3}, "loss head");
  const Tensor own_T3 = ctx.tensor.own_part(stats_RT3).reshape({tokens, 3});
  ctx.ops.run(op::VocabularyStatistics{
      .stats_T3 = own_T3, .logits_TV = logits_TV, .targets_T = targets_T, .rows = rows});
  ctx.tensor.start_all_gather(stats_RT3);
  ctx.tensor.wait();
  ctx.ops.run(op::ShardedCrossEntropy{.loss_T = loss_T,
                                      .dlogits_TV = dlogits_TV,
                                      .logits_TV = logits_TV,
                                      .stats_RT3 = stats_RT3,
                                      .targets_T = targets_T,
                                      .rows = rows,
                                      .grad_scale = grad_scale});
}

void LossHead::loss(const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor targets_T) const {
  const ArenaFrame frame(ctx.scratch);
  const Tokens all = gather(ctx, loss_T, x_TD, targets_T);
  for_each_chunk(ctx, all.normed_SD, [&](std::int64_t begin, std::int64_t end, Tensor logits) {
    cross_entropy(ctx, all.loss_S.slice(begin, end), {}, logits, all.targets_S.slice(begin, end),
                  0);
  });
  if (weight_.is_cut(ctx))
    ctx.ops.run(op::Copy{.out = loss_T, .in = ctx.tensor.own_part(all.loss_S)});
}

void LossHead::loss_and_gradient(const Context& ctx, Tensor loss_T, Tensor dx_TD, Tensor x_TD,
                                 Tensor targets_T, double grad_scale) const {
  const Phase phase(ctx.tracer, "head");
  const ArenaFrame frame(ctx.scratch);
  const bool cut = weight_.is_cut(ctx);
  const Tokens all = gather(ctx, loss_T, x_TD, targets_T);
  // This rank's part of ∂L/∂normed; if it is all of it, in place of normed.
  const Tensor dnormed_SD =
      cut ? ctx.scratch.allocate(ctx.types().master, all.normed_SD.shape, "vocabulary")
          : all.normed_SD;
  for_each_chunk(ctx, all.normed_SD, [&](std::int64_t begin, std::int64_t end, Tensor logits) {
    const ArenaFrame chunk_frame(ctx.scratch);
    Tensor dlogits = logits;  // in place, if the types agree
    if (ctx.types().operand != logits.dtype) {
      dlogits = ctx.scratch.allocate(ctx.types().operand, logits.shape, "loss head");
    }
    cross_entropy(ctx, all.loss_S.slice(begin, end), dlogits, logits,
                  all.targets_S.slice(begin, end), grad_scale);
    ctx.ops.run(op::Matmul{.c = weight_.gradient(ctx),
                           .a = dlogits,
                           .b = all.normed_SD.slice(begin, end),
                           .flags = {.transpose_a = true, .accumulate = true}});
    ctx.ops.run(
        op::Matmul{.c = dnormed_SD.slice(begin, end), .a = dlogits, .b = weight_.operand(ctx)});
  });
  Tensor dnormed_TD = dnormed_SD;
  if (cut) {
    ctx.tensor.start_reduce_scatter(dnormed_SD);
    ctx.ops.run(op::Copy{.out = loss_T, .in = ctx.tensor.own_part(all.loss_S)});
    dnormed_TD = ctx.tensor.own_part(all.normed_SD);
    ctx.tensor.wait();
    ctx.ops.run(op::Copy{.out = dnormed_TD, .in = ctx.tensor.own_part(dnormed_SD)});
  }
  ctx.ops.run(op::Fill{.out = dx_TD, .value = 0});
  norm_.backward(ctx, dx_TD, dnormed_TD, x_TD, all.rstd_T, 0);
}

void LossHead::statistics(const Context& ctx, Tensor statistics_RS3, Tensor x_TD,
                          Tensor targets_T) const {
  const ArenaFrame frame(ctx.scratch);
  const Tokens all = gather(ctx, {}, x_TD, targets_T);
  const bool cut = weight_.is_cut(ctx);
  const Tensor own_S3 = statistics_RS3.row(cut ? ctx.tensor.rank() : 0);
  const VocabularyRows rows = weight_.rows(ctx);
  for_each_chunk(ctx, all.normed_SD, [&](std::int64_t begin, std::int64_t end, Tensor logits) {
    ctx.ops.run(op::VocabularyStatistics{.stats_T3 = own_S3.slice(begin, end),
                                         .logits_TV = logits,
                                         .targets_T = all.targets_S.slice(begin, end),
                                         .rows = rows});
  });
  if (!cut) return;
  ctx.tensor.start_all_gather(statistics_RS3);
  ctx.tensor.wait();
}

void LossHead::logits(const Context& ctx, Tensor logits_TV, Tensor x_TD) const {
  CHECK(!weight_.is_cut(ctx), "logits of a vocabulary that is cut over {} ranks",
        ctx.tensor.size());
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = norm_.forward(ctx, x_TD, 0);
  ctx.ops.run(op::Matmul{
      .c = logits_TV, .a = n.normed_TD, .b = weight_.operand(ctx), .flags = {.transpose_b = true}});
}

}  // namespace dualpath
