// The gates that combine the two paths, their regularisers and what is read out of both.
//
// Logits ℓ = x·Wᵀ + b, W_ND and b_N with N = 2 (two_sigmoid, softmax) or 1 (convex), empty for
// fixed. gates_T2 = (g_d, g_w): two_sigmoid σ(ℓ_d), σ(ℓ_w); convex σ(ℓ), 1-σ(ℓ);
// softmax over (ℓ_d, ℓ_w); fixed ½, ½.
#pragma once

#include <cstdint>

#include "core/ops/contract.h"

namespace dualpath {

enum class GateMode { two_sigmoid, convex, softmax, fixed };
enum class GateTarget { states, updates };

// N
constexpr std::int64_t gate_logits(GateMode mode) {
  if (mode == GateMode::fixed) return 0;
  return mode == GateMode::convex ? 1 : 2;
}

namespace op {

// states: y = g_d·h_deep + g_w·h_wide; updates: y = x + g_d·(h_deep-x) + g_w·(h_wide-x); gates =
struct Gate {
  static constexpr const char* name = "gate";
  Tensor y_TD, gates_T2, x_TD, h_deep_TD, h_wide_TD;
  Tensor weight_ND = {}, bias_N = {};
  GateMode mode;
  GateTarget target;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    const std::int64_t N = gate_logits(mode);
    call.write("y", y_TD, TypeClass::stream, x_TD.shape);
    call.write("gates", gates_T2, TypeClass::master, {x_TD.shape[0], 2});
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("h_deep", h_deep_TD, TypeClass::stream, x_TD.shape);
    call.read("h_wide", h_wide_TD, TypeClass::stream, x_TD.shape);
    call.read_if(N > 0, "weight", weight_ND, TypeClass::master, {N, x_TD.shape[1]});
    call.read_if(N > 0, "bias", bias_N, TypeClass::master, {N});
  }
};

// An intervention at evaluation, on the gates that Gate has found: gates[t] = forced[t] where that
// is not negative, else own[source[t]], each gate by itself; then y as Gate makes it.
struct ForcedGate {
  static constexpr const char* name = "forced_gate";
  Tensor y_TD, gates_T2, own_T2, forced_T2;
  Tensor source_T;  // i32, rows of own
  Tensor x_TD, h_deep_TD, h_wide_TD;
  GateTarget target;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    const Shape T2{x_TD.shape[0], 2};
    call.write("y", y_TD, TypeClass::stream, x_TD.shape);
    call.write("gates", gates_T2, TypeClass::master, T2);
    call.read("own", own_T2, TypeClass::master, T2);
    call.read("forced", forced_T2, TypeClass::master, T2);
    call.read("source", source_T, TypeClass::i32, {x_TD.shape[0]});
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("h_deep", h_deep_TD, TypeClass::stream, x_TD.shape);
    call.read("h_wide", h_wide_TD, TypeClass::stream, x_TD.shape);
  }
};

// dx =, dh_deep =, dh_wide =, dweight +=, dbias +=. dgates_T2 (may be empty) is added to
// ∂L/∂gates: the regularisers' part.
struct GateBackward {
  static constexpr const char* name = "gate_backward";
  Tensor dx_TD, dh_deep_TD, dh_wide_TD;
  Tensor dweight_ND = {}, dbias_N = {};
  Tensor dy_TD;
  Tensor dgates_T2 = {};
  Tensor x_TD, h_deep_TD, h_wide_TD, gates_T2;
  Tensor weight_ND = {};
  GateMode mode;
  GateTarget target;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    const std::int64_t N = gate_logits(mode);
    const Shape T2{x_TD.shape[0], 2};
    call.write("dx", dx_TD, TypeClass::stream, x_TD.shape);
    call.write("dh_deep", dh_deep_TD, TypeClass::stream, x_TD.shape);
    call.write("dh_wide", dh_wide_TD, TypeClass::stream, x_TD.shape);
    call.update_if(N > 0, "dweight", dweight_ND, TypeClass::master, {N, x_TD.shape[1]});
    call.update_if(N > 0, "dbias", dbias_N, TypeClass::master, {N});
    call.read_in_place("dy", dy_TD, TypeClass::stream, x_TD.shape, dx_TD);
    call.read_if(!dgates_T2.empty(), "dgates", dgates_T2, TypeClass::master, T2);
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("h_deep", h_deep_TD, TypeClass::stream, x_TD.shape);
    call.read("h_wide", h_wide_TD, TypeClass::stream, x_TD.shape);
    call.read("gates", gates_T2, TypeClass::master, T2);
    call.read_if(N > 0, "weight", weight_ND, TypeClass::master, {N, x_TD.shape[1]});
  }
};

// Regularisers of one layer, p = g_d/(g_d+g_w) (½ where both vanish), H(p) = -p·ln p -
// (1-p)·ln(1-p) with 0·ln 0 = 0:
//   entropy_scale·Σ_t (-H(p_t))  +  balance_scale·Σ_sequences (mean_{t in sequence} p_t - ½)²
// dgates = its gradient, 0 for a token with a gate of exactly 0; losses_2 += the two sums Σ(-H) and
// Σ(mean p - ½)², unscaled.
struct GateRegularizer {
  static constexpr const char* name = "gate_regularizer";
  Tensor dgates_T2, losses_2, gates_T2;
  std::int64_t positions;
  double entropy_scale, balance_scale;

  void operands(Contract& call) const {
    call.rank("gates", gates_T2, 2);
    call.require(positions > 0 && gates_T2.shape[0] % positions == 0,
                 "{} tokens are no whole sequences of {}", gates_T2.shape[0], positions);
    const Shape T2{gates_T2.shape[0], 2};
    call.write("dgates", dgates_T2, TypeClass::master, T2);
    call.update("losses", losses_2, TypeClass::f64, {2});
    call.read("gates", gates_T2, TypeClass::master, T2);
  }
};

// Per token the columns g_d, g_w, H(p), ρ_d, cos(Δ_d, Δ_w), ‖x‖, where Δ_d = h_deep-x,
// Δ_w = h_wide-x, ρ_d = g_d‖Δ_d‖/(g_d‖Δ_d‖+g_w‖Δ_w‖) (½ where both vanish, cos = 0 where one does).
struct PathReadout {
  static constexpr const char* name = "path_readout";
  enum Column { gate_deep, gate_wide, gate_entropy, deep_share, cosine, input_norm, num_columns };
  Tensor readout_TC, x_TD, h_deep_TD, h_wide_TD, gates_T2;

  void operands(Contract& call) const {
    call.rank("x", x_TD, 2);
    call.write("readout", readout_TC, TypeClass::master, {x_TD.shape[0], num_columns});
    call.read("x", x_TD, TypeClass::stream, x_TD.shape);
    call.read("h_deep", h_deep_TD, TypeClass::stream, x_TD.shape);
    call.read("h_wide", h_wide_TD, TypeClass::stream, x_TD.shape);
    call.read("gates", gates_T2, TypeClass::master, {x_TD.shape[0], 2});
  }
};

// out_T = ‖a_t - b_t‖, or ‖a_t‖ where b is empty
struct RowDistance {
  static constexpr const char* name = "row_distance";
  Tensor out_T, a_TD;
  Tensor b_TD = {};

  void operands(Contract& call) const {
    call.rank("a", a_TD, 2);
    call.write("out", out_T, TypeClass::master, {a_TD.shape[0]});
    call.read("a", a_TD, TypeClass::stream, a_TD.shape);
    call.read_if(!b_TD.empty(), "b", b_TD, TypeClass::stream, a_TD.shape);
  }
};

// out_C += Σ_t in_TC[t]; an input [T] counts as [T, 1]
struct ColumnSums {
  static constexpr const char* name = "column_sums";
  Tensor out_C, in_TC;

  void operands(Contract& call) const {
    const int rank = in_TC.shape.rank();
    call.require(rank == 1 || rank == 2, "in must be [T] or [T, C]");
    call.update("out", out_C, TypeClass::f64, {rank == 1 ? 1 : in_TC.shape[1]});
    call.read("in", in_TC, TypeClass::master, in_TC.shape);
  }
};

}  // namespace op
}  // namespace dualpath
