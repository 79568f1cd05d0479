#include "launcher/sweep/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "core/base/error.h"

namespace dualpath {

namespace {

double sum(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

Spread spread_of(std::span<const double> values) {
  CHECK(!values.empty(), "a mean of nothing");
  const auto count = static_cast<double>(values.size());
  const double mean = sum(values) / count;
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {values.size(), mean, values.size() > 1 ? std::sqrt(squares / (count - 1)) : 0};
}

// The basis 1, u = x - mean, w = u^2 - slope u - base is orthogonal over the points, so that each
// coefficient is a projection of its own and no system of equations is solved.
ParabolaFit fit_parabola(std::span<const double> xs, std::span<const double> ys) {
  CHECK(xs.size() == ys.size(), "{} xs, {} ys", xs.size(), ys.size());
  const std::size_t different = std::set<double>(xs.begin(), xs.end()).size();
  if (different < 3) return {{}, "fewer than 3 different sizes"};

  const auto n = static_cast<double>(xs.size());
  const double mean = sum(xs) / n;
  double u2 = 0, u3 = 0, uy = 0, largest = 0;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const double u = xs[i] - mean;
    u2 += u * u;
    u3 += u * u * u;
    uy += u * ys[i];
    largest = std::max(largest, std::abs(ys[i]));
  }
  const double slope = u3 / u2, base = u2 / n;
  const auto w_at = [&](double x) { return (x - mean) * (x - mean) - slope * (x - mean) - base; };
  double w2 = 0, wy = 0, w1 = 0;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const double w = w_at(xs[i]);
    w1 += std::abs(w);
    w2 += w * w;
    wy += w * ys[i];
  }
  // What wy can be of ys on a straight line, by the rounding of its n products.
  const double rounding = 2 * n * std::numeric_limits<double>::epsilon() * largest * w1;
  if (wy <= rounding) return {{}, "the losses do not curve upwards"};

  // y = c0 + c1 u + c2 w, by powers of u.
  const double c0 = sum(ys) / n, c1 = uy / u2, c2 = wy / w2;
  const double linear = c1 - c2 * slope, constant = c0 - c2 * base;
  Parabola found;
  found.curvature = c2;
  found.minimum_x = mean - linear / (2 * c2);
  found.minimum_y = constant - linear * linear / (4 * c2);
  const auto [low, high] = std::minmax_element(xs.begin(), xs.end());
  if (found.minimum_x <= *low) return {{}, "the loss falls towards the smallest size"};
  if (found.minimum_x >= *high) return {{}, "the loss falls towards the largest size"};
  double squares = 0;
  for (std::size_t i = 0; i < xs.size(); ++i)
    squares += (ys[i] - found.at(xs[i])) * (ys[i] - found.at(xs[i]));
  found.residual = std::sqrt(squares / n);
  return {found, ""};
}

}  // namespace dualpath
