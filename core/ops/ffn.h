// SwiGLU (arXiv 2002.05202). gate_up_T2F holds gate columns, then up columns.
#pragma once

#include "core/ops/contract.h"

namespace dualpath::op {

// out = silu(gate)·up, silu(x) = x·σ(x)
struct SwiGlu {
  static constexpr const char* name = "swiglu";
  Tensor out_TF, gate_up_T2F;

  void operands(Contract& call) const {
    call.rank("out", out_TF, 2);
    call.write("out", out_TF, TypeClass::operand, out_TF.shape);
    call.read("gate_up", gate_up_T2F, TypeClass::operand, {out_TF.shape[0], 2 * out_TF.shape[1]});
  }
};

// dgate_up =, and the forward pass's output again: out =
struct SwiGluBackward {
  static constexpr const char* name = "swiglu_backward";
  Tensor dgate_up_T2F, out_TF, dout_TF, gate_up_T2F;

  void operands(Contract& call) const {
    call.rank("out", out_TF, 2);
    const Shape T2F{out_TF.shape[0], 2 * out_TF.shape[1]};
    call.write("dgate_up", dgate_up_T2F, TypeClass::operand, T2F);
    call.write("out", out_TF, TypeClass::operand, out_TF.shape);
    call.read("dout", dout_TF, TypeClass::operand, out_TF.shape);
    call.read_in_place("gate_up", gate_up_T2F, TypeClass::operand, T2F, dgate_up_T2F);
  }
};

}  // namespace dualpath::op
