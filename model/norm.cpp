#include "model/norm.h"

namespace dualpath {

Norm::Norm(ParameterStore& store, const std::string& name, std::int64_t width,
           std::int64_t num_norms, double epsilon)
    : width_(width), num_norms_(num_norms), epsilon_(epsilon) {
  const Shape shape = num_norms == 1 ? Shape{width} : Shape{num_norms, width};
  weight_ = store.declare({name, shape, {ParameterInit::Law::constant, 1}, false});
}

Norm::Output Norm::allocate(const Context& ctx, std::int64_t tokens) const {
  return {ctx.scratch.allocate(ctx.types().operand, {tokens, width_}, "residual stream"),
          ctx.scratch.allocate(ctx.types().master, {tokens}, "residual stream")};
}

Norm::Output Norm::forward(const Context& ctx, Tensor x_TD, std::int64_t k) const {
  const Output out = allocate(ctx, x_TD.rows());
  forward(ctx, out, x_TD, k);
  return out;
}

void Norm::forward(const Context& ctx, const Output& out, Tensor x_TD, std::int64_t k) const {
  ctx.ops.run(op::RmsNorm{.out_TD = out.normed_TD,
                          .rstd_T = out.rstd_T,
                          .x_TD = x_TD,
                          .weight_D = row(ctx.parameters.value(weight_), k),
                          .epsilon = epsilon_});
}

void Norm::residual_forward(const Context& ctx, const Output& out, const ResidualSum& sum,
                            std::int64_t k) const {
  ctx.ops.run(op::ResidualRmsNorm{.out_TD = sum.u_TD,
                                  .normed_TD = out.normed_TD,
                                  .rstd_T = out.rstd_T,
                                  .x_TD = sum.x_TD,
                                  .y_TD = sum.y_TD,
                                  .gain = sum.gain,
                                  .weight_D = row(ctx.parameters.value(weight_), k),
                                  .epsilon = epsilon_});
}

void Norm::backward(const Context& ctx, Tensor dx_TD, Tensor dnormed_TD, Tensor x_TD, Tensor rstd_T,
                    std::int64_t k) const {
  ctx.ops.run(op::RmsNormBackward{.dx_TD = dx_TD,
                                  .dweight_D = row(ctx.parameters.gradient(weight_), k),
                                  .dout_TD = dnormed_TD,
                                  .x_TD = x_TD,
                                  .weight_D = row(ctx.parameters.value(weight_), k),
                                  .rstd_T = rstd_T});
}

Tensor Norm::row(Tensor weight, std::int64_t k) const {
  return num_norms_ == 1 ? weight : weight.row(k);
}

}  // namespace dualpath
