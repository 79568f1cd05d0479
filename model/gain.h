// The learned scale s = softplus(raw) of a residual branch; absent (s = 1) in standard layers.
#pragma once

#include "model/context.h"

namespace dualpath {

struct Gain {
  Tensor raw;       // one element; empty: s = 1
  Tensor gradient;  // one element

  bool present() const { return !raw.empty(); }
};

// ∂L/∂y of x + s·y from ∂L/∂(x + s·y), in the operand type: s·dout in new scratch, or `dout` itself
// where that is the same.
inline Tensor gained_gradient(const Context& ctx, Tensor dout_TD, const Gain& gain) {
  const DType type = ctx.types().operand;
  if (!gain.present() && dout_TD.dtype == type) return dout_TD;
  const Tensor dy_TD = ctx.scratch.allocate(type, dout_TD.shape, "residual stream");
  ctx.ops.run(op::ResidualBackward{.dy_TD = dy_TD, .dout_TD = dout_TD, .gain = gain.raw});
  return dy_TD;
}

// gain's gradient += , given the linear map's input `a` and its gradient `da` (core/ops/ops.h).
inline void accumulate_gain_gradient(const Context& ctx, const Gain& gain, Tensor da, Tensor a) {
  if (gain.present())
    ctx.ops.run(
        op::ResidualGainBackward{.dgain = gain.gradient, .da = da, .a = a, .gain = gain.raw});
}

}  // namespace dualpath
