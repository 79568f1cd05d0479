// What the reference kernels ask of their scalar S beyond arithmetic and the functions of <cmath>,
// for S = double: plain fp64. rounded.h gives the scalar that also bounds rounding errors.
#pragma once

#include <cmath>

#include "core/base/tensor.h"

namespace dualpath {

// A sum of terms whose order a backend is free to choose.
template <class S>
class Sum;

template <>
class Sum<double> {
 public:
  Sum(double start = 0) : total_(start) {}
  void add(double term) { total_ += term; }
  double total() const { return total_; }

 private:
  double total_;
};

// A sum that is held in f64 whatever the kernel's arithmetic.
template <class S>
class WideSum;

template <>
class WideSum<double> : public Sum<double> {
  using Sum<double>::Sum;
};

// A shift that cancels in exact arithmetic, such as the maximum in a softmax.
inline double shift(double x) {
  return x;
}

// A number that a backend keeps as `type` before it computes on with it.
inline double stored(double x, DType) {
  return x;
}

template <class S>
S sigmoid(S x) {
  using std::exp;
  return S(1) / (S(1) + exp(-x));
}

template <class S>
S softplus(S x) {
  using std::abs, std::exp, std::log1p, std::max;
  return max(x, S(0)) + log1p(exp(-abs(x)));
}

}  // namespace dualpath
