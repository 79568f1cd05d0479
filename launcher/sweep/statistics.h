// The numbers of a sweep's report: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace dualpath {

struct Spread {
  std::size_t count = 0;
  double mean = 0;
  double deviation = 0;  // of the sample, by count - 1; 0 where there is one value
};
// REQUIRES: values are finite, and there is one.
Spread spread_of(std::span<const double> values);

// y = minimum_y + curvature (x - minimum_x)^2
struct Parabola {
  double minimum_x = 0;
  double minimum_y = 0;
  double curvature = 0;  // > 0
  double residual = 0;   // root of the mean squared distance of the points

  double at(double x) const { return minimum_y + curvature * (x - minimum_x) * (x - minimum_x); }
};

struct ParabolaFit {
  std::optional<Parabola> parabola;
  std::string problem;  // why there is none
};
// By least squares. There is one only where the points have three different x, the curve opens
// upwards by more than rounding, and its minimum lies between the outermost x.
// REQUIRES: as many xs as ys, all finite.
ParabolaFit fit_parabola(std::span<const double> xs, std::span<const double> ys);

}  // namespace dualpath
