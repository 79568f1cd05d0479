#include "launcher/bench/rate_fit.h"

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "core/base/error.h"

namespace dualpath {

namespace {

constexpr int num_terms = 3;  // seconds = x·(FLOPs, bytes, 1)
using Terms = std::array<double, num_terms>;

// One row a call, divided by its seconds: x is to make every row 1.
std::vector<Terms> relative_terms(std::span<const TimedCall> calls) {
  std::vector<Terms> rows;
  for (const TimedCall& c : calls)
    rows.push_back({c.flops / c.seconds, c.bytes / c.seconds, 1 / c.seconds});
  return rows;
}

double squared_error(const std::vector<Terms>& rows, const Terms& x) {
  double sum = 0;
  for (const Terms& row : rows) {
    const double error = row[0] * x[0] + row[1] * x[1] + row[2] * x[2] - 1;
    sum += error * error;
  }
  return sum;
}

// Least squares with the terms of a bit mask alone, by the normal equations; nullopt where the rows
// do not determine them, or one is below 0.
std::optional<Terms> solve(const std::vector<Terms>& rows, unsigned mask) {
  std::vector<std::size_t> used;
  Terms scale{};
  for (std::size_t i = 0; i < num_terms; ++i) {
    if ((mask >> i & 1) == 0) continue;
    used.push_back(i);
    for (const Terms& row : rows) scale[i] += row[i] * row[i];
    if (scale[i] == 0) return std::nullopt;
    scale[i] = std::sqrt(scale[i]);
  }
  const std::size_t n = used.size();
  std::array<std::array<double, num_terms + 1>, num_terms> a{};  // with the right-hand side
  for (const Terms& row : rows) {
    for (std::size_t i = 0; i < n; ++i) {
      const double left = row[used[i]] / scale[used[i]];
      for (std::size_t j = 0; j < n; ++j) a[i][j] += left * row[used[j]] / scale[used[j]];
      a[i][n] += left;
    }
  }
  constexpr double singular = 1e-10;  // of a diagonal that begins as 1
  for (std::size_t i = 0; i < n; ++i) {
    if (a[i][i] < singular) return std::nullopt;
    for (std::size_t k = 0; k < n; ++k) {
      if (k == i) continue;
      const double factor = a[k][i] / a[i][i];
      for (std::size_t j = i; j <= n; ++j) a[k][j] -= factor * a[i][j];
    }
  }
  Terms x{};
  for (std::size_t i = 0; i < n; ++i) {
    x[used[i]] = a[i][n] / a[i][i] / scale[used[i]];
    if (x[used[i]] < 0) return std::nullopt;
  }
  return x;
}

double giga_rate(double seconds_each) {
  return seconds_each == 0 ? 0 : 1e-9 / seconds_each;
}

}  // namespace

// The best point of all faces of the cone x >= 0; a face with more terms must be better for more
// than rounding.
KernelRate fit_rate(std::span<const TimedCall> calls) {
  CHECK(!calls.empty(), "no calls to fit a rate to");
  const std::vector<Terms> rows = relative_terms(calls);
  constexpr double rounding = 1e-12;
  Terms best{};
  double least = std::numeric_limits<double>::infinity();
  for (const unsigned mask : {1U, 2U, 4U, 3U, 5U, 6U, 7U}) {
    const std::optional<Terms> x = solve(rows, mask);
    if (!x) continue;
    const double error = squared_error(rows, *x);
    if (error < least - rounding * static_cast<double>(rows.size())) {
      least = error;
      best = *x;
    }
  }
  return {.overhead_us = 1e6 * best[2], .gflops = giga_rate(best[0]), .gbytes = giga_rate(best[1])};
}

}  // namespace dualpath
