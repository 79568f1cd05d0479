// Sums over one row, and the scalar functions of gains and gates.
#pragma once

#include <cmath>
#include <cstdint>

namespace dualpath {

inline float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

inline double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

inline double softplus(double x) {
  return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
}

}  // namespace dualpath
