#include "model/ffn.h"

namespace dualpath {

Ffn::Ffn(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
         std::int64_t hidden_units, double down_std, std::int64_t num_norms)
    : hidden_units_(hidden_units),
      norm_(store, prefix + ".ffn_norm", config.hidden_size, num_norms, config.norm_epsilon) {
  const Shape shape{hidden_units, config.hidden_size};
  const ParameterInit normal{ParameterInit::Law::normal, config.init_std};
  gate_ = store.declare({prefix + ".gate", shape, normal, true, true});
  store.declare({prefix + ".up", shape, normal, true, true, true});
  down_ =
      store.declare({prefix + ".down", shape, {ParameterInit::Law::normal, down_std}, true, true});
}

Tensor Ffn::allocate_gate_up(const Context& ctx, Arena& arena) const {
  return arena.allocate(ctx.types().operand, {ctx.tokens(), 2 * hidden_units_}, "ffn");
}

void Ffn::project_up(const Context& ctx, Tensor gate_up_T2F, Tensor normed_TD) const {
  ctx.ops.matmul(gate_up_T2F, normed_TD, ctx.parameters.fused_operand(gate_, 2),
                 {.transpose_b = true});
}

void Ffn::project_down(const Context& ctx, Tensor gate_up_T2F, Tensor y_TD) const {
  const ArenaFrame frame(ctx.scratch);
  const Tensor act_TF =
      ctx.scratch.allocate(ctx.types().operand, {ctx.tokens(), hidden_units_}, "ffn");
  ctx.ops.swiglu(act_TF, gate_up_T2F);
  ctx.ops.matmul(y_TD, act_TF, ctx.parameters.operand(down_), {});
}

void Ffn::backward(const Context& ctx, Tensor gate_up_T2F, Tensor dnormed_TD, Tensor dy_TD,
                   Tensor normed_TD, const Gain& gain) const {
  const ArenaFrame frame(ctx.scratch);
  Ops& ops = ctx.ops;
  const Shape hidden{ctx.tokens(), hidden_units_};
  const Tensor dact_TF = ctx.scratch.allocate(ctx.types().operand, hidden, "ffn");
  const Tensor act_TF = ctx.scratch.allocate(ctx.types().operand, hidden, "ffn");
  const Tensor dgate_up_T2F = gate_up_T2F;  // in place
  ops.matmul(dact_TF, dy_TD, ctx.parameters.operand(down_), {.transpose_b = true});
  ops.swiglu_backward(dgate_up_T2F, act_TF, dact_TF, gate_up_T2F);
  ops.matmul(ctx.parameters.gradient(down_), act_TF, dy_TD,
             {.transpose_a = true, .accumulate = true});
  accumulate_gain_gradient(ctx, gain, dact_TF, act_TF);
  ops.matmul(dnormed_TD, dgate_up_T2F, ctx.parameters.fused_operand(gate_, 2), {});
  ops.matmul(ctx.parameters.fused_gradient(gate_, 2), dgate_up_T2F, normed_TD,
             {.transpose_a = true, .accumulate = true});
}

}  // namespace dualpath
