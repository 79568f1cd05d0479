#include "model/deep_path.h"

#include <cmath>

namespace dualpath {

namespace {

SublayerShape shape_of(const ModelConfig& config, double output_std) {
  return {.hidden_units = config.deep.ffn_hidden_size,
          .iterations = config.deep.iterations,
          .num_norms = config.deep.iteration_norm ? config.deep.iterations : 1,
          .gained = true,
          .gain_init = config.deep.gain_init,
          .output_std = output_std};
}

Tensor row_or_empty(Tensor tensor_KT, std::int64_t k) {
  return tensor_KT.empty() ? Tensor{} : tensor_KT.row(k);
}

}  // namespace

DeepPath::DeepPath(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
                   double output_std, const Attention* shared)
    : iterations_(config.deep.iterations),
      trained_iterations_(config.deep.iterations),
      width_(config.hidden_size),
      combine_(config.deep.combine),
      input_injection_(config.deep.input_injection),
      shared_attention_(shared != nullptr),
      sublayer_(store, prefix + ".deep", config, shape_of(config, output_std), shared) {
  if (combine_ != LoopCombine::mixture) return;
  const double bound = 1 / std::sqrt(static_cast<double>(width_ + 1));
  router_weight_ = store.declare(
      {prefix + ".router.weight", {width_ + 1}, {ParameterInit::Law::uniform, bound}, true});
  router_bias_ = store.declare({prefix + ".router.bias",
                                {1},
                                {ParameterInit::Law::constant, config.deep.router_bias_init},
                                false});
}

void DeepPath::allocate_stash(const Context& ctx, Arena& arena, Recompute recompute,
                              DeepStash& stash) const {
  const auto count = static_cast<std::size_t>(iterations_);
  stash.states.resize(count);
  stash.applications.assign(count, {});
  for (std::size_t k = 0; k < count; ++k) {
    stash.states[k] = arena.allocate(ctx.types().stream, {ctx.tokens(), width_}, "residual stream");
    if (recompute == Recompute::none) {
      stash.applications[k] =
          sublayer_.allocate_stash(ctx, arena, !shares(static_cast<std::int64_t>(k)), ctx.tokens());
    }
  }
  stash.weight_KT =
      arena.allocate(ctx.types().master, {iterations_, ctx.tokens()}, "router and gates");
  stash.q_KT = has_router() ? arena.allocate(ctx.types().master, {iterations_, ctx.tokens()},
                                             "router and gates")
                            : Tensor{};
}

DeepPath::Forward DeepPath::begin_forward(const Context& ctx, Tensor x_TD, Tensor h_deep_TD,
                                          const SharedAttention& shared) const {
  Tensor remaining_T;
  if (has_router()) {
    remaining_T = ctx.scratch.allocate(ctx.types().master, {ctx.tokens()}, "router and gates");
  }
  return {x_TD, h_deep_TD, shared, remaining_T};
}

void DeepPath::run(const Context& ctx, DeepStash& stash, const Forward& pass, std::int64_t begin,
                   std::int64_t end) const {
  Tensor router_weight, router_bias;
  if (has_router()) {
    router_weight = ctx.parameters.value(router_weight_);
    router_bias = ctx.parameters.value(router_bias_);
  }
  for (std::int64_t k = begin; k < end; ++k) {
    const Phase phase(ctx.tracer, "iteration", k + 1);
    const ArenaFrame iteration(ctx.scratch);
    const auto i = static_cast<std::size_t>(k);
    apply(ctx, stash.applications[i], input(ctx, stash, pass.x_TD, k), stash.states[i], pass.shared,
          k);
    ctx.ops.run(op::MixtureStep{.h_deep_TD = pass.h_deep_TD,
                                .weight_T = stash.weight_KT.row(k),
                                .q_T = row_or_empty(stash.q_KT, k),
                                .remaining_T = pass.remaining_T,
                                .h_TD = stash.states[i],
                                .router_w = router_weight,
                                .router_b = router_bias,
                                .step = step(k)});
  }
}

DeepPath::Backward DeepPath::begin_backward(const Context& ctx, const DeepStash& stash,
                                            Backward pass, double ponder_scale) const {
  pass.d_TD = ctx.scratch.allocate(pass.dx_TD.dtype, pass.dx_TD.shape, "residual stream");
  ctx.ops.run(op::Fill{.out = pass.d_TD, .value = 0});
  pass.dlogit_KT = mixture_backward(ctx, stash, pass.dh_deep_TD, ponder_scale);
  return pass;
}

void DeepPath::run_backward(const Context& ctx, DeepStash& stash, const Backward& pass,
                            std::int64_t begin, std::int64_t end) const {
  Tensor router_weight, drouter_weight, drouter_bias;
  if (has_router()) {
    router_weight = ctx.parameters.value(router_weight_);
    drouter_weight = ctx.parameters.gradient(router_weight_);
    drouter_bias = ctx.parameters.gradient(router_bias_);
  }
  for (std::int64_t k = end - 1; k >= begin; --k) {
    const Phase phase(ctx.tracer, "iteration", k + 1);
    const ArenaFrame iteration(ctx.scratch);
    const auto i = static_cast<std::size_t>(k);
    ctx.ops.run(op::MixtureStepBackward{.dh_TD = pass.d_TD,
                                        .drouter_w = drouter_weight,
                                        .drouter_b = drouter_bias,
                                        .dh_deep_TD = pass.dh_deep_TD,
                                        .h_TD = stash.states[i],
                                        .weight_T = stash.weight_KT.row(k),
                                        .dlogit_T = row_or_empty(pass.dlogit_KT, k),
                                        .router_w = router_weight,
                                        .step = step(k)});
    backward_application(ctx, stash.applications[i], input(ctx, stash, pass.x_TD, k), pass.d_TD,
                         pass.shared, k);
    if (input_injection_ || k == 0) ctx.ops.run(op::Add{.out = pass.dx_TD, .in = pass.d_TD});
  }
}

// What iteration k is applied to: hᵏ⁻¹, or hᵏ⁻¹ + x with input injection.
Tensor DeepPath::input(const Context& ctx, const DeepStash& stash, Tensor x_TD,
                       std::int64_t k) const {
  if (k == 0) return x_TD;
  const Tensor previous_TD = stash.states[static_cast<std::size_t>(k - 1)];
  if (!input_injection_) return previous_TD;
  const Tensor sum_TD = ctx.scratch.allocate(x_TD.dtype, x_TD.shape, "residual stream");
  ctx.ops.run(op::Sum{.out = sum_TD, .a = previous_TD, .b = x_TD});
  return sum_TD;
}

// out = Φ(input; s_k). Where nothing is kept the application works in scratch; an empty out stops
// when `kept` is filled.
void DeepPath::apply(const Context& ctx, SublayerStash& kept, Tensor input_TD, Tensor out_TD,
                     const SharedAttention& shared, std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  SublayerStash passing;
  if (!kept.kept()) passing = sublayer_.allocate_stash(ctx, ctx.scratch, !shares(k), ctx.tokens());
  SublayerStash& stash = kept.kept() ? kept : passing;
  sublayer_.forward(ctx, stash, input_TD, shares(k) ? shared.y_TD : Tensor{}, out_TD, trained(k));
}

void DeepPath::backward_application(const Context& ctx, SublayerStash& kept, Tensor input_TD,
                                    Tensor d_TD, const SharedAttention& shared,
                                    std::int64_t k) const {
  const ArenaFrame frame(ctx.scratch);
  SublayerStash rebuilt;
  if (!kept.kept()) {
    rebuilt = sublayer_.allocate_stash(ctx, ctx.scratch, !shares(k), ctx.tokens());
    apply(ctx, rebuilt, input_TD, {}, shared, k);
  }
  const SublayerStash& stash = kept.kept() ? kept : rebuilt;
  if (shares(k)) {
    sublayer_.backward_shared(ctx, stash, shared.y_TD, shared.dy_TD, d_TD, k);
  } else {
    sublayer_.backward(ctx, stash, input_TD, d_TD, k);
  }
}

// ∂L/∂(router logits), [K, T] in scratch of the caller's frame; empty without a router.
Tensor DeepPath::mixture_backward(const Context& ctx, const DeepStash& stash, Tensor dh_deep_TD,
                                  double ponder_scale) const {
  if (!has_router()) return {};
  const Shape shape{iterations_, ctx.tokens()};
  const Tensor dlogit_KT = ctx.scratch.allocate(ctx.types().master, shape, "router and gates");
  const ArenaFrame frame(ctx.scratch);
  const Tensor c_KT = ctx.scratch.allocate(ctx.types().master, shape, "router and gates");
  for (std::int64_t k = 0; k < iterations_; ++k) {
    ctx.ops.run(op::RowDot{.out_T = c_KT.row(k),
                           .a_TD = dh_deep_TD,
                           .b_TD = stash.states[static_cast<std::size_t>(k)]});
  }
  ctx.ops.run(op::MixtureWeightsBackward{
      .dlogit_KT = dlogit_KT, .c_KT = c_KT, .q_KT = stash.q_KT, .ponder_scale = ponder_scale});
  return dlogit_KT;
}

}  // namespace dualpath
