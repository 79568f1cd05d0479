#include "model/layer.h"

#include "core/ops/ops.h"

namespace dualpath {

namespace {

Tensor scratch_TD(const Context& ctx, Tensor like_TD) {
  return ctx.scratch.allocate(like_TD.dtype, like_TD.shape, "residual stream");
}

std::string layer_name(std::int64_t index) {
  return fmt::format("layers.{}", index);
}

std::optional<WidePath> make_wide(ParameterStore& store, const ModelConfig& config,
                                  const std::string& name, Architecture architecture,
                                  double output_std, const Attention* shared) {
  if (architecture == Architecture::looped) return std::nullopt;
  const bool standard = architecture == Architecture::standard;
  return WidePath(store, name + (standard ? ".standard" : ".wide"), config,
                  {.hidden_units = config.wide.ffn_hidden_size,
                   .gained = !standard,
                   .gain_init = config.wide.gain_init,
                   .output_std = output_std,
                   .ffn_cut = Cut::rows},
                  shared);
}

}  // namespace

Layer::Layer(ParameterStore& store, const ModelConfig& config, std::int64_t index,
             double output_std)
    : index_(index), width_(config.hidden_size), gate_(config.gate) {
  const Architecture architecture = config.architecture_of(index);
  const bool deep = architecture == Architecture::looped || architecture == Architecture::dual_path;
  const bool both = architecture == Architecture::dual_path;
  const std::string name = layer_name(index);
  const std::int64_t deep_norms = config.deep.iteration_norm ? config.deep.iterations : 1;
  if (both && config.shared_attention) {
    shared_attention_.emplace(store, name + ".shared", config, output_std, deep_norms);
  }
  const Attention* shared = shared_attention_ ? &*shared_attention_ : nullptr;
  if (deep) deep_.emplace(store, name, config, output_std, shared);
  wide_ = make_wide(store, config, name, architecture, output_std, shared);
  if (both && gate_.mode != GateMode::fixed) {
    const std::int64_t num_logits = gate_logits(gate_.mode);
    const ParameterInit zero{ParameterInit::Law::constant, 0};
    gate_weight_ = store.declare({name + ".gates.weight", {num_logits, width_}, zero, true});
    gate_bias_ = store.declare({name + ".gates.bias", {num_logits}, zero, false});
  }
}

std::int64_t Layer::num_attentions() const {
  return (wide_ ? 1 : 0) + (deep_ ? deep_->iterations() : 0) - (shared_attention_ ? 1 : 0);
}

void Layer::forward(const Context& ctx, LayerStash& stash, Tensor y_TD, Recompute recompute) const {
  const Phase phase(ctx.tracer, "layer", index_);
  const PackedWeightsScope held(ctx.ops);  // the loop multiplies with the same ones K times
  if (recompute != Recompute::layer) {
    allocate_stash(ctx, ctx.stash, recompute, stash);
    if (wide_ && recompute == Recompute::none)
      stash.wide = wide_->allocate_stash(ctx, ctx.stash, !shared_attention_);
    run(ctx, stash, y_TD);
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  allocate_stash(ctx, ctx.scratch, Recompute::iteration, stash);
  run(ctx, stash, y_TD);
}

void Layer::backward(const Context& ctx, LayerStash& stash, LayerStash& rebuilt, Tensor d_TD,
                     const RegularizerScales& regularizers, Recompute recompute) const {
  const Phase phase(ctx.tracer, "layer", index_);
  const PackedWeightsScope held(ctx.ops);
  if (recompute != Recompute::layer) {
    backward_kept(ctx, stash, d_TD, regularizers);
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  rebuilt.x_TD = stash.x_TD;
  allocate_stash(ctx, ctx.scratch, Recompute::none, rebuilt);
  if (wide_) rebuilt.wide = wide_->allocate_rebuilt(ctx, !shared_attention_);
  {
    const ArenaFrame inner(ctx.scratch);
    Context again = ctx;
    again.readouts = {};
    if (deep_) {
      run(again, rebuilt, scratch_TD(ctx, d_TD));
    } else {
      wide_->run_ffn_up(again, wide_->begin_forward(again, rebuilt.wide, rebuilt.x_TD, {}));
    }
  }
  backward_kept(ctx, rebuilt, d_TD, regularizers);
}

void Layer::backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const {
  const Phase phase(ctx.tracer, "layer", index_);
  wide_->backward_weights(ctx, inputs);
}

void Layer::allocate_stash(const Context& ctx, Arena& arena, Recompute recompute,
                           LayerStash& stash) const {
  stash.wide = {};
  if (deep_) deep_->allocate_stash(ctx, arena, recompute, stash.deep);
  if (!has_both_paths()) return;
  const Shape shape{ctx.tokens(), width_};
  const NumericTypes& types = ctx.types();
  stash.h_wide_TD = arena.allocate(types.stream, shape, "residual stream");
  stash.h_deep_TD = arena.allocate(types.stream, shape, "residual stream");
  stash.gates_T2 = arena.allocate(types.master, {ctx.tokens(), 2}, "router and gates");
  if (shared_attention_) {
    stash.shared = shared_attention_->allocate_stash(ctx, arena);
    stash.shared_y_TD = arena.allocate(types.operand, shape, "attention");
  }
}

void Layer::run(const Context& ctx, LayerStash& stash, Tensor y_TD) const {
  if (has_both_paths()) {
    run_both(ctx, stash, y_TD);
  } else if (deep_) {
    const ArenaFrame frame(ctx.scratch);
    const DeepPath::Forward pass = deep_->begin_forward(ctx, stash.x_TD, y_TD, {});
    deep_->run(ctx, stash.deep, pass, 0, deep_->iterations());
  } else {
    run_wide(ctx, stash, y_TD);
  }
  if (!ctx.readouts.empty()) add_readouts(ctx, stash);
  if (ctx.token_readouts != nullptr) read_tokens(ctx, stash);
}

void Layer::run_both(const Context& ctx, LayerStash& stash, Tensor y_TD) const {
  if (shared_attention_) run_shared_attention(ctx, stash);
  run_paths(ctx, stash);
  run_gate(ctx, stash, y_TD);
}

void Layer::run_gate(const Context& ctx, LayerStash& stash, Tensor y_TD) const {
  const bool learned = static_cast<bool>(gate_weight_);
  const Tensor own_T2 = ctx.gates == nullptr ? stash.gates_T2 : ctx.gates->own_T2;
  ctx.ops.run(op::Gate{.y_TD = y_TD,
                       .gates_T2 = own_T2,
                       .x_TD = stash.x_TD,
                       .h_deep_TD = stash.h_deep_TD,
                       .h_wide_TD = stash.h_wide_TD,
                       .weight_ND = learned ? ctx.parameters.value(gate_weight_) : Tensor{},
                       .bias_N = learned ? ctx.parameters.value(gate_bias_) : Tensor{},
                       .mode = gate_.mode,
                       .target = gate_.target});
  if (ctx.gates == nullptr) return;
  ctx.ops.run(op::ForcedGate{.y_TD = y_TD,
                             .gates_T2 = stash.gates_T2,
                             .own_T2 = own_T2,
                             .forced_T2 = ctx.gates->forced_T2,
                             .source_T = ctx.gates->source_T,
                             .x_TD = stash.x_TD,
                             .h_deep_TD = stash.h_deep_TD,
                             .h_wide_TD = stash.h_wide_TD,
                             .target = gate_.target});
}

void Layer::run_wide(const Context& ctx, LayerStash& stash, Tensor out_TD) const {
  const ArenaFrame frame(ctx.scratch);
  const WidePath::Forward wide =
      wide_->begin_forward(ctx, stash.wide, stash.x_TD, stash.shared_y_TD);
  wide_->run_ffn(ctx, wide);
  wide_->finish_forward(ctx, wide, out_TD);
}

// The wide path's data travels while the deep loop runs: first half the gather, second half the
// scatter. With nothing to travel, one path after the other needs less memory.
void Layer::run_paths(const Context& ctx, LayerStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const std::int64_t all = deep_->iterations(), half = (all + 1) / 2;
  const SharedAttention shared{stash.shared_y_TD, {}};
  if (ctx.tensor.size() == 1) {
    run_wide(ctx, stash, stash.h_wide_TD);
    deep_->run(ctx, stash.deep, deep_->begin_forward(ctx, stash.x_TD, stash.h_deep_TD, shared), 0,
               all);
    return;
  }
  const WidePath::Forward wide = wide_->begin_forward(ctx, stash.wide, stash.x_TD, shared.y_TD);
  const DeepPath::Forward deep = deep_->begin_forward(ctx, stash.x_TD, stash.h_deep_TD, shared);
  deep_->run(ctx, stash.deep, deep, 0, half);
  wide_->run_ffn(ctx, wide);
  deep_->run(ctx, stash.deep, deep, half, all);
  wide_->finish_forward(ctx, wide, stash.h_wide_TD);
}

void Layer::run_shared_attention(const Context& ctx, LayerStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = shared_attention_->norm().forward(ctx, stash.x_TD, 0);
  shared_attention_->forward(ctx, stash.shared, n.normed_TD, stash.shared_y_TD);
}

void Layer::backward_kept(const Context& ctx, LayerStash& stash, Tensor d_TD,
                          const RegularizerScales& regularizers) const {
  if (has_both_paths()) {
    backward_both(ctx, stash, d_TD, regularizers);
  } else if (deep_) {
    const ArenaFrame frame(ctx.scratch);
    const Tensor dx_TD = scratch_TD(ctx, d_TD);
    ctx.ops.run(op::Fill{.out = dx_TD, .value = 0});
    backward_deep(ctx, stash, {stash.x_TD, d_TD, dx_TD, {}}, regularizers.ponder);
    ctx.ops.run(op::Copy{.out = d_TD, .in = dx_TD});
  } else {
    backward_wide(ctx, stash, d_TD, {});
  }
}

void Layer::backward_both(const Context& ctx, LayerStash& stash, Tensor d_TD,
                          const RegularizerScales& regularizers) const {
  const ArenaFrame frame(ctx.scratch);
  const bool learned = static_cast<bool>(gate_weight_);
  const Tensor dh_deep_TD = scratch_TD(ctx, d_TD);
  const Tensor dh_wide_TD = scratch_TD(ctx, d_TD);
  const Tensor dx_TD = d_TD;  // in place: from here on d collects ∂L/∂x
  ctx.ops.run(
      op::GateBackward{.dx_TD = dx_TD,
                       .dh_deep_TD = dh_deep_TD,
                       .dh_wide_TD = dh_wide_TD,
                       .dweight_ND = learned ? ctx.parameters.gradient(gate_weight_) : Tensor{},
                       .dbias_N = learned ? ctx.parameters.gradient(gate_bias_) : Tensor{},
                       .dy_TD = d_TD,
                       .dgates_T2 = gate_regularizer(ctx, stash.gates_T2, regularizers),
                       .x_TD = stash.x_TD,
                       .h_deep_TD = stash.h_deep_TD,
                       .h_wide_TD = stash.h_wide_TD,
                       .gates_T2 = stash.gates_T2,
                       .weight_ND = learned ? ctx.parameters.value(gate_weight_) : Tensor{},
                       .mode = gate_.mode,
                       .target = gate_.target});
  const SharedAttention shared = begin_shared_backward(ctx, stash);
  backward_paths(ctx, stash, dh_wide_TD, {stash.x_TD, dh_deep_TD, dx_TD, shared},
                 regularizers.ponder);
  finish_shared_backward(ctx, stash, shared, dx_TD);
}

// In place: d = ∂L/∂h_wide becomes ∂L/∂x (without the part through a shared attention).
void Layer::backward_wide(const Context& ctx, LayerStash& stash, Tensor d_TD,
                          const SharedAttention& shared) const {
  const ArenaFrame frame(ctx.scratch);
  const WidePath::Backward wide =
      wide_->begin_backward(ctx, stash.wide, stash.x_TD, shared.y_TD, d_TD);
  wide_->run_ffn_backward(ctx, wide);
  wide_->finish_backward(ctx, wide, stash.x_TD, shared.y_TD, shared.dy_TD, d_TD);
}

void Layer::backward_deep(const Context& ctx, LayerStash& stash, const DeepPath::Backward& pass,
                          double ponder_scale) const {
  const ArenaFrame frame(ctx.scratch);
  const DeepPath::Backward deep = deep_->begin_backward(ctx, stash.deep, pass, ponder_scale);
  deep_->run_backward(ctx, stash.deep, deep, 0, deep_->iterations());
}

// dx += ∂L/∂x through both paths; dh_wide is used up. The order is that of run_paths().
void Layer::backward_paths(const Context& ctx, LayerStash& stash, Tensor dh_wide_TD,
                           const DeepPath::Backward& deep_pass, double ponder_scale) const {
  const SharedAttention& shared = deep_pass.shared;
  if (ctx.tensor.size() == 1) {
    backward_wide(ctx, stash, dh_wide_TD, shared);
    ctx.ops.run(op::Add{.out = deep_pass.dx_TD, .in = dh_wide_TD});
    backward_deep(ctx, stash, deep_pass, ponder_scale);
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const std::int64_t all = deep_->iterations(), half = all / 2;
  const WidePath::Backward wide =
      wide_->begin_backward(ctx, stash.wide, stash.x_TD, shared.y_TD, dh_wide_TD);
  const DeepPath::Backward deep = deep_->begin_backward(ctx, stash.deep, deep_pass, ponder_scale);
  deep_->run_backward(ctx, stash.deep, deep, half, all);
  wide_->run_ffn_backward(ctx, wide);
  deep_->run_backward(ctx, stash.deep, deep, 0, half);
  wide_->finish_backward(ctx, wide, stash.x_TD, shared.y_TD, shared.dy_TD, dh_wide_TD);
  ctx.ops.run(op::Add{.out = deep_pass.dx_TD, .in = dh_wide_TD});
}

SharedAttention Layer::begin_shared_backward(const Context& ctx, LayerStash& stash) const {
  if (!shared_attention_) return {};
  const SharedAttention shared{stash.shared_y_TD, scratch_TD(ctx, stash.shared_y_TD)};
  ctx.ops.run(op::Fill{.out = shared.dy_TD, .value = 0});
  return shared;
}

// dx += ∂L/∂x through the shared attention, whose output gradient both paths have summed up.
void Layer::finish_shared_backward(const Context& ctx, const LayerStash& stash,
                                   const SharedAttention& shared, Tensor dx_TD) const {
  if (!shared_attention_) return;
  const ArenaFrame frame(ctx.scratch);
  const Norm::Output n = shared_attention_->norm().forward(ctx, stash.x_TD, 0);
  const Tensor dnormed_TD = scratch_TD(ctx, shared.dy_TD);
  shared_attention_->backward(ctx, stash.shared, dnormed_TD, shared.dy_TD, n.normed_TD, {});
  shared_attention_->norm().backward(ctx, dx_TD, dnormed_TD, stash.x_TD, n.rstd_T, 0);
}

// ∂(regularisers)/∂gates in new scratch; empty where they are off.
Tensor Layer::gate_regularizer(const Context& ctx, Tensor gates_T2,
                               const RegularizerScales& regularizers) const {
  if (regularizers.entropy == 0 && regularizers.balance == 0) return {};
  const Tensor dgates_T2 = ctx.scratch.allocate(gates_T2.dtype, gates_T2.shape, "router and gates");
  ctx.ops.run(op::GateRegularizer{.dgates_T2 = dgates_T2,
                                  .losses_2 = regularizers.gate_losses,
                                  .gates_T2 = gates_T2,
                                  .positions = ctx.shape.positions,
                                  .entropy_scale = regularizers.entropy,
                                  .balance_scale = regularizers.balance});
  return dgates_T2;
}

void Layer::add_readouts(const Context& ctx, const LayerStash& stash) const {
  const ArenaFrame frame(ctx.scratch);
  const Tensor sums = ctx.readouts.row(index_);
  if (has_both_paths()) {
    const Tensor readout_TC = ctx.scratch.allocate(
        ctx.types().master, {ctx.tokens(), op::PathReadout::num_columns}, "read-outs");
    ctx.ops.run(op::PathReadout{.readout_TC = readout_TC,
                                .x_TD = stash.x_TD,
                                .h_deep_TD = stash.h_deep_TD,
                                .h_wide_TD = stash.h_wide_TD,
                                .gates_T2 = stash.gates_T2});
    ctx.ops.run(
        op::ColumnSums{.out_C = sums.slice(0, op::PathReadout::num_columns), .in_TC = readout_TC});
  }
  if (deep_) {
    const Tensor expected_T = ctx.scratch.allocate(ctx.types().master, {ctx.tokens()}, "read-outs");
    ctx.ops.run(op::ExpectedIterations{.out_T = expected_T, .weight_KT = stash.deep.weight_KT});
    ctx.ops.run(op::ColumnSums{.out_C = sums.slice(readout_expected_iterations, num_readouts),
                               .in_TC = expected_T});
  }
}

void Layer::read_tokens(const Context& ctx, const LayerStash& stash) const {
  const TokenReadouts& out = *ctx.token_readouts;
  const Tensor norms_3T = out.norms_L3T.row(index_);
  ctx.ops.run(op::RowDistance{.out_T = norms_3T.row(TokenReadouts::input), .a_TD = stash.x_TD});
  if (has_both_paths()) {
    ctx.ops.run(op::PathReadout{.readout_TC = out.paths_LTC.row(index_),
                                .x_TD = stash.x_TD,
                                .h_deep_TD = stash.h_deep_TD,
                                .h_wide_TD = stash.h_wide_TD,
                                .gates_T2 = stash.gates_T2});
    ctx.ops.run(op::RowDistance{.out_T = norms_3T.row(TokenReadouts::deep_update),
                                .a_TD = stash.h_deep_TD,
                                .b_TD = stash.x_TD});
    ctx.ops.run(op::RowDistance{.out_T = norms_3T.row(TokenReadouts::wide_update),
                                .a_TD = stash.h_wide_TD,
                                .b_TD = stash.x_TD});
  }
  if (!deep_) return;
  ctx.ops.run(op::Copy{.out = out.weights_LKT.row(index_), .in = stash.deep.weight_KT});
  if (has_router()) ctx.ops.run(op::Copy{.out = out.q_LKT.row(index_), .in = stash.deep.q_KT});
  for (std::size_t k = 0; k < stash.deep.states.size(); ++k) {
    ctx.ops.run(
        op::RowDistance{.out_T = out.changes_LKT.row(index_).row(static_cast<std::int64_t>(k)),
                        .a_TD = stash.deep.states[k],
                        .b_TD = k == 0 ? stash.x_TD : stash.deep.states[k - 1]});
  }
}

}  // namespace dualpath
