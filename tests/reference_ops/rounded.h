// Rounded: an fp64 number with a bound on how far any honest fp32 evaluation of the same formula
// may be from it (running error analysis; Higham, Accuracy and Stability of Numerical Algorithms,
// ch. 3). u = 2⁻²⁴ is the unit roundoff of fp32.
//
// - Inputs and constants that are fp32 numbers have error 0; other constants u·|value|.
// - + - * / and sqrt carry the errors of their operands along, to all orders, and add 2u·|result|.
//   Once u is what IEEE arithmetic needs; the other u leaves room for a different arrangement of
//   a formula with up to twice as many operations, and for reciprocals of 1 ulp.
// - exp, log and log1p add 8u·|result|: vectorised implementations of up to 4 ulp.
// - n additions in a sum add γ_n·Σ|terms|, γ_n = n·u/(1-n·u), for any order, blocking or number
//   of threads. Where the sum is held in f64, u in γ_n is 2⁻⁵³.
// - Operations outside a sum add the smallest normal number: less may be flushed to 0.
//
// The bound is rigorous, not statistical, so that no tolerance is chosen anywhere else.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tests/reference_ops/scalar.h"

namespace dualpath {

struct Rounded {
  static constexpr double unit = 0x1p-24;
  static constexpr double smallest_normal = 0x1p-126;

  double value = 0;
  double error = 0;

  Rounded() = default;
  Rounded(double constant)
      : value(constant),
        error(static_cast<double>(static_cast<float>(constant)) == constant
                  ? 0
                  : unit * std::abs(constant)) {}

  // `value` with the operands' errors carried along, evaluated with `units` roundings.
  static Rounded result(double value, double carried, double units) {
    Rounded r;
    r.value = value;
    r.error = carried + units * unit * (std::abs(value) + carried) + smallest_normal;
    return r;
  }

  friend bool operator==(Rounded a, Rounded b) { return a.value == b.value; }
  friend bool operator<(Rounded a, Rounded b) { return a.value < b.value; }

  friend Rounded operator-(Rounded a) {
    a.value = -a.value;
    return a;
  }
  friend Rounded operator+(Rounded a, Rounded b) {
    return result(a.value + b.value, a.error + b.error, 2);
  }
  friend Rounded operator-(Rounded a, Rounded b) { return a + -b; }
  friend Rounded operator*(Rounded a, Rounded b) {
    const double carried = std::abs(a.value) * b.error + std::abs(b.value) * a.error;
    return result(a.value * b.value, carried + a.error * b.error, 2);
  }
  friend Rounded operator/(Rounded a, Rounded b) {
    const double quotient = a.value / b.value, distance = std::abs(b.value) - b.error;
    const double carried =
        distance > 0 ? (a.error + std::abs(quotient) * b.error) / distance : infinite;
    return result(quotient, carried, 2);
  }
  friend Rounded sqrt(Rounded a) {
    const double root = std::sqrt(a.value);
    return result(root, root - std::sqrt(std::max(0.0, a.value - a.error)), 2);
  }
  friend Rounded exp(Rounded a) {
    const double power = std::exp(a.value);
    return result(power, power * std::expm1(a.error), 8);
  }
  friend Rounded log(Rounded a) {
    const double carried = a.error < a.value ? -std::log1p(-a.error / a.value) : infinite;
    return result(std::log(a.value), carried, 8);
  }
  friend Rounded log1p(Rounded a) {
    const double distance = 1 + a.value;
    const double carried = a.error < distance ? -std::log1p(-a.error / distance) : infinite;
    return result(std::log1p(a.value), carried, 8);
  }
  friend Rounded abs(Rounded a) { return a.value < 0 ? -a : a; }
  friend Rounded max(Rounded a, Rounded b) {
    Rounded larger = a < b ? b : a;
    larger.error = std::max(a.error, b.error);
    return larger;
  }
  // bf16 has 8 bits; what is less than the smallest normal number may be flushed to 0.
  friend Rounded stored(Rounded a, DType type) {
    if (type == DType::bf16) a.error += 0x1p-8 * (std::abs(a.value) + a.error) + smallest_normal;
    return a;
  }
  friend Rounded shift(Rounded a) {
    a.error = 0;
    return a;
  }

 private:
  static constexpr double infinite = std::numeric_limits<double>::infinity();
};

class RoundedSum {
 public:
  RoundedSum(double accumulator_unit, Rounded start)
      : unit_(accumulator_unit), total_(start), magnitude_(std::abs(start.value) + start.error) {}
  void add(Rounded term) {
    ++num_additions_;
    total_.value += term.value;
    total_.error += term.error;
    magnitude_ += std::abs(term.value) + term.error;
  }
  Rounded total() const {
    const double nu = static_cast<double>(num_additions_) * unit_;
    Rounded sum = total_;
    sum.error += nu / (1 - nu) * magnitude_;
    return sum;
  }

 private:
  double unit_;
  Rounded total_;
  double magnitude_;
  std::int64_t num_additions_ = 0;
};

template <>
class Sum<Rounded> : public RoundedSum {
 public:
  Sum(Rounded start = 0) : RoundedSum(Rounded::unit, start) {}
};

template <>
class WideSum<Rounded> : public RoundedSum {
 public:
  WideSum(Rounded start = 0) : RoundedSum(0x1p-53, start) {}
};

}  // namespace dualpath
