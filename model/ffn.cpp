#include "model/ffn.h"

namespace dualpath {

Ffn::Ffn(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
         const FfnShape& shape)
    : norm_(store, prefix + ".ffn_norm", config.hidden_size, shape.num_norms, config.norm_epsilon) {
  const auto declare = [&](const char* name, double deviation, bool joins_previous) {
    return store.declare({.name = prefix + name,
                          .shape = {shape.hidden_units, config.hidden_size},
                          .init = {ParameterInit::Law::normal, deviation},
                          .decay = true,
                          .product = true,
                          .joins_previous = joins_previous,
                          .cut = shape.cut});
  };
  gate_ = declare(".gate", config.init_std, false);
  declare(".up", config.init_std, true);
  down_ = declare(".down", shape.down_std, false);
}

Tensor Ffn::allocate_gate_up(const Context& ctx, Arena& arena, std::int64_t tokens) const {
  return arena.allocate(ctx.types().operand, {tokens, 2 * hidden_units(ctx)}, "ffn");
}

void Ffn::project_up(const Context& ctx, Tensor gate_up_T2F, Tensor normed_TD) const {
  ctx.ops.run(op::Matmul{.c = gate_up_T2F,
                         .a = normed_TD,
                         .b = ctx.parameters.fused_operand(gate_, 2),
                         .flags = {.transpose_b = true}});
}

void Ffn::project_down(const Context& ctx, Tensor gate_up_T2F, Tensor y_TD) const {
  const ArenaFrame frame(ctx.scratch);
  const Tensor act_TF =
      ctx.scratch.allocate(ctx.types().operand, {y_TD.rows(), hidden_units(ctx)}, "ffn");
  ctx.ops.run(op::SwiGlu{.out_TF = act_TF, .gate_up_T2F = gate_up_T2F});
  ctx.ops.run(op::Matmul{.c = y_TD, .a = act_TF, .b = ctx.parameters.operand(down_)});
}

FfnWeightInputs Ffn::backward_inputs(const Context& ctx, Arena& arena, const Backward& pass) const {
  const Shape hidden{pass.dy_TD.rows(), hidden_units(ctx)};
  const Tensor act_TF = arena.allocate(ctx.types().operand, hidden, "ffn");
  const ArenaFrame frame(ctx.scratch);
  const Tensor dact_TF = ctx.scratch.allocate(ctx.types().operand, hidden, "ffn");
  ctx.ops.run(op::Matmul{.c = dact_TF,
                         .a = pass.dy_TD,
                         .b = ctx.parameters.operand(down_),
                         .flags = {.transpose_b = true}});
  ctx.ops.run(op::SwiGluBackward{.dgate_up_T2F = pass.dgate_up_T2F,
                                 .out_TF = act_TF,
                                 .dout_TF = dact_TF,
                                 .gate_up_T2F = pass.gate_up_T2F});
  accumulate_gain_gradient(ctx, pass.gain, dact_TF, act_TF);
  ctx.ops.run(op::Matmul{
      .c = pass.dnormed_TD, .a = pass.dgate_up_T2F, .b = ctx.parameters.fused_operand(gate_, 2)});
  return {act_TF, pass.dgate_up_T2F, pass.dy_TD, pass.normed_TD};
}

void Ffn::backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const {
  const MatmulFlags transposed{.transpose_a = true, .accumulate = true};
  ctx.ops.run(op::Matmul{.c = ctx.parameters.gradient(down_),
                         .a = inputs.act_TF,
                         .b = inputs.dy_TD,
                         .flags = transposed});
  ctx.ops.run(op::Matmul{.c = ctx.parameters.fused_gradient(gate_, 2),
                         .a = inputs.dgate_up_T2F,
                         .b = inputs.normed_TD,
                         .flags = transposed});
}

}  // namespace dualpath
