#include "model/loss_head.h"

#include <algorithm>

namespace dualpath {

// Calls chunk(begin, end, logits) with the logits of tokens [begin, end).
template <class Chunk>
void LossHead::for_each_chunk(const Context& ctx, Tensor normed_TD, Chunk chunk) const {
  const ArenaFrame frame(ctx.scratch);
  const Tensor weight_VD = ctx.parameters.operand(weight_);
  const std::int64_t tokens = normed_TD.rows();
  const Tensor logits_TV = ctx.scratch.allocate(
      ctx.types().master, {std::min(chunk_tokens_, tokens), weight_VD.rows()}, "loss head");
  for (std::int64_t begin = 0; begin < tokens; begin += chunk_tokens_) {
    const std::int64_t end = std::min(begin + chunk_tokens_, tokens);
    const Tensor chunk_logits = logits_TV.slice(0, end - begin);
    ctx.ops.matmul(chunk_logits, normed_TD.slice(begin, end), weight_VD, {.transpose_b = true});
    chunk(begin, end, chunk_logits);
  }
}

void LossHead::loss(const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor targets_T) const {
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = norm_.forward(ctx, x_TD, 0);
  for_each_chunk(ctx, n.normed_TD, [&](std::int64_t begin, std::int64_t end, Tensor logits) {
    ctx.ops.cross_entropy(loss_T.slice(begin, end), {}, logits, targets_T.slice(begin, end), 0);
  });
}

void LossHead::loss_and_gradient(const Context& ctx, Tensor loss_T, Tensor dx_TD, Tensor x_TD,
                                 Tensor targets_T, double grad_scale) const {
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = norm_.forward(ctx, x_TD, 0);
  for_each_chunk(ctx, n.normed_TD, [&](std::int64_t begin, std::int64_t end, Tensor logits) {
    const ArenaFrame chunk_frame(ctx.scratch);
    Tensor dlogits = logits;  // in place, if the types agree
    if (ctx.types().operand != logits.dtype) {
      dlogits = ctx.scratch.allocate(ctx.types().operand, logits.shape, "loss head");
    }
    ctx.ops.cross_entropy(loss_T.slice(begin, end), dlogits, logits, targets_T.slice(begin, end),
                          grad_scale);
    const Tensor normed_chunk = n.normed_TD.slice(begin, end);
    ctx.ops.matmul(ctx.parameters.gradient(weight_), dlogits, normed_chunk,
                   {.transpose_a = true, .accumulate = true});
    ctx.ops.matmul(normed_chunk, dlogits, ctx.parameters.operand(weight_), {});  // now ∂L/∂normed
  });
  ctx.ops.fill(dx_TD, 0);
  norm_.backward(ctx, dx_TD, n.normed_TD, x_TD, n.rstd_T, 0);
}

void LossHead::logits(const Context& ctx, Tensor logits_TV, Tensor x_TD) const {
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = norm_.forward(ctx, x_TD, 0);
  ctx.ops.matmul(logits_TV, n.normed_TD, ctx.parameters.operand(weight_), {.transpose_b = true});
}

}  // namespace dualpath
