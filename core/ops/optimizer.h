// AdamW (arXiv 1711.05101) and the sum behind the gradient's norm.
#pragma once

#include "core/ops/contract.h"

namespace dualpath {

struct AdamWStep {
  double learning_rate;
  double beta1, beta2, epsilon;
  double weight_decay;    // decoupled: value -= learning_rate·weight_decay·value
  double correction1;     // 1 - beta1^t
  double correction2;     // 1 - beta2^t
  double gradient_scale;  // multiplies the gradient first (clipping)
};

namespace op {

// g = gradient·gradient_scale; m = β1·m+(1-β1)·g; v = β2·v+(1-β2)·g²;
// value -= lr·(m/c1/(sqrt(v/c2)+ε) + weight_decay·value)
// operand = value, rounded to its type; empty: not wanted.
struct AdamW {
  static constexpr const char* name = "adamw";
  Tensor value_N, m_N, v_N;
  Tensor operand_N = {};
  Tensor gradient_N;
  AdamWStep step;

  void operands(Contract& call) const {
    const Extent N = flat(value_N.numel());
    call.update("value", value_N, TypeClass::master, value_N.shape);
    call.update("m", m_N, TypeClass::master, N);
    call.update("v", v_N, TypeClass::master, N);
    call.write_if(!operand_N.empty(), "operand", operand_N, TypeClass::operand, N);
    call.read("gradient", gradient_N, TypeClass::master, N);
  }
};

// out (one element) += Σ x²
struct SumOfSquares {
  static constexpr const char* name = "sum_of_squares";
  Tensor out, x_N;

  void operands(Contract& call) const {
    call.update("out", out, TypeClass::f64, flat(1));
    call.read("x", x_N, TypeClass::master, x_N.shape);
  }
};

}  // namespace op
}  // namespace dualpath
