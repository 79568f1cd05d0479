#include "model/wide_path.h"

namespace dualpath {

namespace {

Tensor scratch_TD(const Context& ctx, DType type, std::int64_t width) {
  return ctx.scratch.allocate(type, {ctx.tokens(), width}, "residual stream");
}

// This rank's sum, in the operand type: what a product of the whole FFN would have stored.
Tensor own_sum(const Context& ctx, Tensor sums_SD, Tensor memory_TD) {
  const Tensor own_TD = ctx.tensor.own_part(sums_SD);
  if (own_TD.dtype == memory_TD.dtype) return own_TD;
  ctx.ops.run(op::Copy{.out = memory_TD, .in = own_TD});
  return memory_TD;
}

}  // namespace

WidePath::WidePath(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
                   const SublayerShape& shape, const Attention* shared)
    : width_(config.hidden_size), sublayer_(store, prefix, config, shape, shared) {}

WideStash WidePath::allocate_stash(const Context& ctx, Arena& arena, bool with_attention) const {
  return {sublayer_.allocate_stash(ctx, arena, with_attention, ctx.group_tokens()), {}};
}

WideStash WidePath::allocate_rebuilt(const Context& ctx, bool with_attention) const {
  WideStash stash = allocate_stash(ctx, ctx.scratch, with_attention);
  if (ctx.tensor.size() > 1)
    stash.normed_SD = group_SD(ctx, ctx.weight_inputs_arena(), ctx.types().operand);
  return stash;
}

Tensor WidePath::group_SD(const Context& ctx, Arena& arena, DType type) const {
  return arena.allocate(type, {ctx.group_tokens(), width_}, "wide path's group");
}

WidePath::Forward WidePath::begin_forward(const Context& ctx, WideStash& stash, Tensor x_TD,
                                          Tensor shared_y_TD) const {
  const Phase phase(ctx.tracer, "wide");
  const NumericTypes& types = ctx.types();
  const bool alone = ctx.tensor.size() == 1;
  Forward pass;
  pass.u_TD = stash.sublayer.kept() ? stash.sublayer.u_TD : scratch_TD(ctx, types.stream, width_);
  pass.gate_up_S2F = stash.sublayer.gate_up_T2F;
  pass.y_TD = scratch_TD(ctx, types.operand, width_);
  pass.normed_SD =
      stash.normed_SD.empty() ? group_SD(ctx, ctx.scratch, types.operand) : stash.normed_SD;
  // Alone, the normalised input is no longer needed when y is made.
  pass.y_SD = alone ? pass.normed_SD : group_SD(ctx, ctx.scratch, types.master);

  const ArenaFrame frame(ctx.scratch);
  Tensor attended_TD = shared_y_TD;
  if (attended_TD.empty()) {
    attended_TD = pass.y_TD;
    AttentionStash attention = stash.sublayer.kept()
                                   ? stash.sublayer.attention
                                   : sublayer_.allocate_attention_stash(ctx, ctx.scratch);
    sublayer_.attend(ctx, attention, x_TD, attended_TD, 0);
  }
  const Tensor rstd_T = ctx.scratch.allocate(types.master, {ctx.tokens()}, "residual stream");
  sublayer_.ffn().norm().residual_forward(
      ctx, {ctx.tensor.own_part(pass.normed_SD), rstd_T},
      {pass.u_TD, x_TD, attended_TD, sublayer_.gain(ctx, 0).raw}, 0);
  ctx.tensor.start_all_gather(pass.normed_SD);
  return pass;
}

void WidePath::run_ffn(const Context& ctx, const Forward& pass) const {
  const Phase phase(ctx.tracer, "wide");
  const ArenaFrame frame(ctx.scratch);
  const Tensor gate_up_S2F = pass.gate_up_S2F.empty() ? sublayer_.ffn().allocate_gate_up(
                                                            ctx, ctx.scratch, ctx.group_tokens())
                                                      : pass.gate_up_S2F;
  ctx.tensor.wait();
  sublayer_.ffn().project_up(ctx, gate_up_S2F, pass.normed_SD);
  sublayer_.ffn().project_down(ctx, gate_up_S2F, pass.y_SD);
  ctx.tensor.start_reduce_scatter(pass.y_SD);
}

void WidePath::run_ffn_up(const Context& ctx, const Forward& pass) const {
  const Phase phase(ctx.tracer, "wide");
  ctx.tensor.wait();
  sublayer_.ffn().project_up(ctx, pass.gate_up_S2F, pass.normed_SD);
}

void WidePath::finish_forward(const Context& ctx, const Forward& pass, Tensor out_TD) const {
  const Phase phase(ctx.tracer, "wide");
  ctx.tensor.wait();
  ctx.ops.run(op::Residual{.out_TD = out_TD,
                           .x_TD = pass.u_TD,
                           .y_TD = own_sum(ctx, pass.y_SD, pass.y_TD),
                           .gain = sublayer_.gain(ctx, 0).raw});
}

WidePath::Backward WidePath::begin_backward(const Context& ctx, WideStash& stash, Tensor x_TD,
                                            Tensor shared_y_TD, Tensor d_TD) const {
  const Phase phase(ctx.tracer, "wide");
  const NumericTypes& types = ctx.types();
  const bool alone = ctx.tensor.size() == 1;
  const bool rebuild = !stash.sublayer.kept();
  Arena& kept = ctx.weight_inputs_arena();
  const Gain s = sublayer_.gain(ctx, 0);
  Backward pass;
  pass.sublayer = stash.sublayer;
  if (rebuild) {
    pass.sublayer.u_TD = scratch_TD(ctx, types.stream, width_);
    if (shared_y_TD.empty())
      pass.sublayer.attention = sublayer_.allocate_attention_stash(ctx, ctx.scratch);
  }
  pass.normed_SD = stash.normed_SD.empty() ? group_SD(ctx, kept, types.operand) : stash.normed_SD;
  if (!alone || ctx.deferred != nullptr) pass.dy_SD = group_SD(ctx, kept, types.operand);
  pass.dnormed_SD = group_SD(ctx, ctx.scratch, alone ? types.operand : types.master);
  pass.n = {ctx.tensor.own_part(pass.normed_SD),
            ctx.scratch.allocate(types.master, {ctx.tokens()}, "residual stream")};
  if (rebuild) {
    const ArenaFrame frame(ctx.scratch);
    Tensor attended_TD = shared_y_TD;
    if (attended_TD.empty()) {
      attended_TD = scratch_TD(ctx, types.operand, width_);
      sublayer_.attend(ctx, pass.sublayer.attention, x_TD, attended_TD, 0);
    }
    sublayer_.ffn().norm().residual_forward(ctx, pass.n,
                                            {pass.sublayer.u_TD, x_TD, attended_TD, s.raw}, 0);
  } else {
    sublayer_.ffn().norm().forward(ctx, pass.n, pass.sublayer.u_TD, 0);
  }
  if (pass.dy_SD.empty()) {
    pass.dy_SD = gained_gradient(ctx, d_TD, s);
  } else {
    ctx.ops.run(op::ResidualBackward{
        .dy_TD = ctx.tensor.own_part(pass.dy_SD), .dout_TD = d_TD, .gain = s.raw});
  }
  if (stash.normed_SD.empty()) ctx.tensor.start_all_gather(pass.normed_SD);
  ctx.tensor.start_all_gather(pass.dy_SD);
  return pass;
}

void WidePath::run_ffn_backward(const Context& ctx, const Backward& pass) const {
  const Phase phase(ctx.tracer, "wide");
  const Ffn& ffn = sublayer_.ffn();
  const ArenaFrame frame(ctx.scratch);
  Tensor gate_up_S2F = pass.sublayer.gate_up_T2F;
  ctx.tensor.wait();
  if (gate_up_S2F.empty()) {
    gate_up_S2F = ffn.allocate_gate_up(ctx, ctx.scratch, ctx.group_tokens());
    ffn.project_up(ctx, gate_up_S2F, pass.normed_SD);
  }
  Tensor dgate_up_S2F = gate_up_S2F;
  if (ctx.deferred != nullptr)
    dgate_up_S2F = ffn.allocate_gate_up(ctx, ctx.deferred->arena, ctx.group_tokens());
  const FfnWeightInputs inputs = ffn.backward_inputs(ctx, ctx.weight_inputs_arena(),
                                                     {.dgate_up_T2F = dgate_up_S2F,
                                                      .gate_up_T2F = gate_up_S2F,
                                                      .dnormed_TD = pass.dnormed_SD,
                                                      .dy_TD = pass.dy_SD,
                                                      .normed_TD = pass.normed_SD,
                                                      .gain = sublayer_.gain(ctx, 0)});
  ctx.tensor.start_reduce_scatter(pass.dnormed_SD);
  if (ctx.deferred == nullptr) {
    ffn.backward_weights(ctx, inputs);
  } else {
    ctx.deferred->inputs.push_back(inputs);
  }
}

void WidePath::finish_backward(const Context& ctx, const Backward& pass, Tensor x_TD,
                               Tensor shared_y_TD, Tensor shared_dy_TD, Tensor d_TD) const {
  const Phase phase(ctx.tracer, "wide");
  ctx.tensor.wait();
  const ArenaFrame frame(ctx.scratch);
  const Tensor rounded_TD = scratch_TD(ctx, ctx.types().operand, width_);
  sublayer_.ffn().norm().backward(ctx, d_TD, own_sum(ctx, pass.dnormed_SD, rounded_TD),
                                  pass.sublayer.u_TD, pass.n.rstd_T, 0);
  if (shared_y_TD.empty()) {
    sublayer_.attention_backward(ctx, pass.sublayer.attention, x_TD, d_TD, 0);
  } else {
    sublayer_.shared_attention_backward(ctx, shared_y_TD, shared_dy_TD, d_TD, 0);
  }
}

void WidePath::backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const {
  const Phase phase(ctx.tracer, "wide");
  sublayer_.ffn().backward_weights(ctx, inputs);
}

}  // namespace dualpath
