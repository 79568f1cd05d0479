#include "model/sublayer.h"

namespace dualpath {

namespace {

Tensor operand_TD(const Context& ctx, Tensor like_TD) {
  return ctx.scratch.allocate(ctx.types().operand, like_TD.shape, "residual stream");
}

}  // namespace

Sublayer::Sublayer(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
                   const SublayerShape& shape, const Attention* shared)
    : attention_(shared == nullptr
                     ? Attention(store, prefix, config, shape.output_std, shape.num_norms)
                     : *shared),
      ffn_(store, prefix, config,
           {.hidden_units = shape.hidden_units,
            .down_std = shape.output_std,
            .num_norms = shape.num_norms,
            .cut = shape.ffn_cut}) {
  if (shape.gained) {
    gain_ = store.declare({prefix + ".gain",
                           {shape.iterations},
                           {ParameterInit::Law::constant, shape.gain_init},
                           false});
  }
}

SublayerStash Sublayer::allocate_stash(const Context& ctx, Arena& arena, bool with_attention,
                                       std::int64_t ffn_tokens) const {
  SublayerStash stash;
  if (with_attention) stash.attention = attention_.allocate_stash(ctx, arena);
  stash.u_TD =
      arena.allocate(ctx.types().stream, {ctx.tokens(), ffn_.norm().width()}, "residual stream");
  stash.gate_up_T2F = ffn_.allocate_gate_up(ctx, arena, ffn_tokens);
  return stash;
}

Gain Sublayer::gain(const Context& ctx, std::int64_t k) const {
  if (!gain_) return {};
  return {ctx.parameters.value(gain_).row(k), ctx.parameters.gradient(gain_).row(k)};
}

void Sublayer::attend(const Context& ctx, AttentionStash& stash, Tensor x_TD, Tensor y_TD,
                      std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = attention_.norm().forward(ctx, x_TD, k);
  attention_.forward(ctx, stash, n.normed_TD, y_TD);
}

void Sublayer::forward(const Context& ctx, SublayerStash& stash, Tensor x_TD, Tensor shared_y_TD,
                       Tensor out_TD, std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  Tensor y_TD = shared_y_TD;
  if (y_TD.empty()) {
    y_TD = operand_TD(ctx, x_TD);
    attend(ctx, stash.attention, x_TD, y_TD, k);
  }
  const Gain s = gain(ctx, k);
  const Norm::Output n = ffn_.norm().allocate(ctx, x_TD.rows());
  ffn_.norm().residual_forward(ctx, n, {stash.u_TD, x_TD, y_TD, s.raw}, k);
  ffn_.project_up(ctx, stash.gate_up_T2F, n.normed_TD);
  if (out_TD.empty()) return;
  const Tensor f_TD = n.normed_TD;  // the normalised input is no longer needed
  ffn_.project_down(ctx, stash.gate_up_T2F, f_TD);
  ctx.ops.run(op::Residual{.out_TD = out_TD, .x_TD = stash.u_TD, .y_TD = f_TD, .gain = s.raw});
}

void Sublayer::backward(const Context& ctx, const SublayerStash& stash, Tensor x_TD, Tensor d_TD,
                        std::int64_t k) const {
  ffn_backward(ctx, stash, d_TD, k);
  attention_backward(ctx, stash.attention, x_TD, d_TD, k);
}

void Sublayer::backward_shared(const Context& ctx, const SublayerStash& stash, Tensor y_TD,
                               Tensor dy_TD, Tensor d_TD, std::int64_t k) const {
  ffn_backward(ctx, stash, d_TD, k);
  shared_attention_backward(ctx, y_TD, dy_TD, d_TD, k);
}

// d = ∂L/∂out becomes ∂L/∂u: the identity path stays, the FFN's part is added by the norm's
// backward.
void Sublayer::ffn_backward(const Context& ctx, const SublayerStash& stash, Tensor d_TD,
                            std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  const Gain s = gain(ctx, k);
  const Norm::Output n = ffn_.norm().forward(ctx, stash.u_TD, k);
  const Tensor dnormed_TD = operand_TD(ctx, d_TD);
  const Tensor dy_TD = gained_gradient(ctx, d_TD, s);
  const Tensor gate_up_T2F = stash.gate_up_T2F;  // becomes its gradient
  ffn_.backward_weights(ctx, ffn_.backward_inputs(ctx, ctx.scratch,
                                                  {.dgate_up_T2F = gate_up_T2F,
                                                   .gate_up_T2F = gate_up_T2F,
                                                   .dnormed_TD = dnormed_TD,
                                                   .dy_TD = dy_TD,
                                                   .normed_TD = n.normed_TD,
                                                   .gain = s}));
  ffn_.norm().backward(ctx, d_TD, dnormed_TD, stash.u_TD, n.rstd_T, k);
}

void Sublayer::attention_backward(const Context& ctx, const AttentionStash& stash, Tensor x_TD,
                                  Tensor d_TD, std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  const Gain s = gain(ctx, k);
  const Norm::Output n = attention_.norm().forward(ctx, x_TD, k);
  const Tensor dnormed_TD = operand_TD(ctx, d_TD);
  attention_.backward(ctx, stash, dnormed_TD, gained_gradient(ctx, d_TD, s), n.normed_TD, s);
  attention_.norm().backward(ctx, d_TD, dnormed_TD, x_TD, n.rstd_T, k);
}

// u = x + s·y: the path to x is the identity, that to y is s.
void Sublayer::shared_attention_backward(const Context& ctx, Tensor y_TD, Tensor dy_TD, Tensor d_TD,
                                         std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  const Gain s = gain(ctx, k);
  const Tensor du_to_y_TD = gained_gradient(ctx, d_TD, s);
  accumulate_gain_gradient(ctx, s, du_to_y_TD, y_TD);
  ctx.ops.run(op::Add{.out = dy_TD, .in = du_to_y_TD});
}

}  // namespace dualpath
