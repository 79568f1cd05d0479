// RMSNorm (arXiv 1910.07467) and the scaled residual.
#pragma once

#include "core/ops/contract.h"

namespace dualpath::op {

// rstd = 1/sqrt(mean(x²) + epsilon), out = x·rstd·weight
struct RmsNorm {
  static constexpr const char* name = "rms_norm";
  Tensor out_TD, rstd_T, x_TD, weight_D;
  double epsilon;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    call.write("out", out_TD, TypeClass::operand, x_TD.shape);
    call.write("rstd", rstd_T, TypeClass::master, {x_TD.shape[0]});
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("weight", weight_D, TypeClass::master, {x_TD.shape[1]});
  }
};

// dx += ∂L/∂x, dweight += ∂L/∂weight, given dout = ∂L/∂out
struct RmsNormBackward {
  static constexpr const char* name = "rms_norm_backward";
  Tensor dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    call.update("dx", dx_TD, TypeClass::stream, x_TD.shape);
    call.update("dweight", dweight_D, TypeClass::master, {x_TD.shape[1]});
    call.read("dout", dout_TD, TypeClass::operand, x_TD.shape);
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("weight", weight_D, TypeClass::master, {x_TD.shape[1]});
    call.read("rstd", rstd_T, TypeClass::master, {x_TD.shape[0]});
  }
};

// out = x + s·y with the scale s = softplus(gain), or 1 where gain is empty
struct Residual {
  static constexpr const char* name = "residual";
  Tensor out_TD, x_TD, y_TD;
  Tensor gain = {};

  void operands(Contract& call) const {
    call.rank("out", out_TD, 2);
    call.write("out", out_TD, TypeClass::stream, out_TD.shape);
    call.read_in_place("x", x_TD, TypeClass::stream, out_TD.shape, out_TD);
    call.read_in_place("y", y_TD, TypeClass::operand, out_TD.shape, out_TD);
    call.read_if(!gain.empty(), "gain", gain, TypeClass::master, flat(1));
  }
};

// Residual, then RmsNorm, in one pass: out = x + s·y, normed = RMSNorm(out; weight)
struct ResidualRmsNorm {
  static constexpr const char* name = "residual_rms_norm";
  Tensor out_TD, normed_TD, rstd_T, x_TD, y_TD;
  Tensor gain = {};
  Tensor weight_D;
  double epsilon;

  void operands(Contract& call) const {
    call.rank("out", out_TD, 2);
    call.write("out", out_TD, TypeClass::stream, out_TD.shape);
    call.write("normed", normed_TD, TypeClass::operand, out_TD.shape);
    call.write("rstd", rstd_T, TypeClass::master, {out_TD.shape[0]});
    call.read("x", x_TD, TypeClass::stream, out_TD.shape);
    call.read("y", y_TD, TypeClass::operand, out_TD.shape);
    call.read_if(!gain.empty(), "gain", gain, TypeClass::master, flat(1));
    call.read("weight", weight_D, TypeClass::master, {out_TD.shape[1]});
  }
};

// dy = s·dout
struct ResidualBackward {
  static constexpr const char* name = "residual_backward";
  Tensor dy_TD, dout_TD;
  Tensor gain = {};

  void operands(Contract& call) const {
    call.rank("dy", dy_TD, 2);
    call.write("dy", dy_TD, TypeClass::operand, dy_TD.shape);
    call.read_in_place("dout", dout_TD, TypeClass::stream, dy_TD.shape, dy_TD);
    call.read_if(!gain.empty(), "gain", gain, TypeClass::master, flat(1));
  }
};

// The gain's own gradient. With y = a·W a linear map and da = dy·Wᵀ = s·dout·Wᵀ,
// ∂L/∂s = <dout, y> = <da, a>/s, hence dgain += <da, a>·σ(gain)/softplus(gain):
// y itself need not be kept. a and da have any equal shape.
struct ResidualGainBackward {
  static constexpr const char* name = "residual_gain_backward";
  Tensor dgain, da, a, gain;

  void operands(Contract& call) const {
    call.update("dgain", dgain, TypeClass::master, flat(1));
    call.read("da", da, TypeClass::operand, a.shape);
    call.read("a", a, TypeClass::operand, a.shape);
    call.read("gain", gain, TypeClass::master, flat(1));
  }
};

}  // namespace dualpath::op
