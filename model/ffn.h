// SwiGLU feed-forward network of one path: y = (silu(n·W_gateᵀ)·(n·W_upᵀ))·W_down. All three
// weights are stored [F, D], so that a cut along dim 0 cuts the hidden units: each rank of the
// tensor axis then has F of them for the tokens T of all its group, its y and dnormed are summands,
// and the group's ranks add them up.
#pragma once

#include <string>

#include "model/config.h"
#include "model/context.h"
#include "model/gain.h"
#include "model/norm.h"

namespace dualpath {

struct FfnShape {
  std::int64_t hidden_units;
  double down_std;         // of the initial down weights
  std::int64_t num_norms;  // 1, or K
  Cut cut;
};

class Ffn {
 public:
  // Declares "PREFIX.ffn_norm", "PREFIX.gate", "PREFIX.up" and "PREFIX.down".
  Ffn(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
      const FfnShape& shape);

  // The only tensor the backward pass needs besides the normalised input: gate_up_T2F.
  Tensor allocate_gate_up(const Context& ctx, Arena& arena, std::int64_t tokens) const;
  // gate_up = normed·[W_gate; W_up]ᵀ
  void project_up(const Context& ctx, Tensor gate_up_T2F, Tensor normed_TD) const;
  // y = swiglu(gate_up)·W_down
  void project_down(const Context& ctx, Tensor gate_up_T2F, Tensor y_TD) const;

  struct Backward {
    Tensor dgate_up_T2F;  // =; may be gate_up
    Tensor gate_up_T2F;
    Tensor dnormed_TD;  // =
    Tensor dy_TD;
    Tensor normed_TD;
    Gain gain;  // that scales y; its gradient +=
  };
  // Gradients of the inputs. Returns what the weights' gradients are made of; its act is new in
  // `arena`.
  FfnWeightInputs backward_inputs(const Context& ctx, Arena& arena, const Backward& pass) const;
  // The weights' gradients +=.
  void backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const;

  const Norm& norm() const { return norm_; }  // of this FFN's input

 private:
  std::int64_t hidden_units(const Context& ctx) const { return ctx.parameters.value(down_).rows(); }

  Norm norm_;
  Parameter gate_;  // followed by up: one fused matrix
  Parameter down_;
};

}  // namespace dualpath
