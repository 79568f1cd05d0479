// RMSNorm with its weight: one [D] for all iterations of a path, or a row of its own for each
// iteration ([K, D]).
#pragma once

#include <string>

#include "model/context.h"

namespace dualpath {

class Norm {
 public:
  // num_norms: 1, or K.
  Norm(ParameterStore& store, const std::string& name, std::int64_t width, std::int64_t num_norms,
       double epsilon);

  struct Output {
    Tensor normed_TD;
    Tensor rstd_T;  // 1/rms of each token
  };
  // In new scratch. k: the iteration, counted from 0.
  Output forward(const Context& ctx, Tensor x_TD, std::int64_t k) const;
  // The same into given memory.
  void forward(const Context& ctx, const Output& out, Tensor x_TD, std::int64_t k) const;
  // u = x + s·y, s = softplus(gain), or 1 where gain is empty.
  struct ResidualSum {
    Tensor u_TD, x_TD, y_TD, gain;
  };
  // The sum and its norm in one pass.
  void residual_forward(const Context& ctx, const Output& out, const ResidualSum& sum,
                        std::int64_t k) const;
  Output allocate(const Context& ctx, std::int64_t tokens) const;  // in new scratch
  // dx += ∂L/∂x; the weight's gradient +=. rstd: of the forward.
  void backward(const Context& ctx, Tensor dx_TD, Tensor dnormed_TD, Tensor x_TD, Tensor rstd_T,
                std::int64_t k) const;

  std::int64_t width() const { return width_; }

 private:
  Tensor row(Tensor weight, std::int64_t k) const;

  Parameter weight_;
  std::int64_t width_;
  std::int64_t num_norms_;
  double epsilon_;
};

}  // namespace dualpath
