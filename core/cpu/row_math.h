// Sums over one row, and the scalar functions of gains and gates.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/cpu/vector.h"

namespace dualpath {

// Σ_i Π factors[i]
template <class... Factors>
inline float dot(std::int64_t n, const Factors*... factors) {
  Vector even{};
  Vector odd{};
  std::int64_t i = 0;
  constexpr std::int64_t step = std::int64_t{2} * vector_lanes;
  for (; i + step <= n; i += step) {
    even += (... * load(factors + i));
    odd += (... * load(factors + i + vector_lanes));
  }
  float sum = lane_sum(even + odd);
  for (; i < n; ++i) sum += (... * static_cast<float>(factors[i]));
  return sum;
}

// In f64, for sums over whole tensors.
template <class T>
double dot_f64(const T* a, const T* b, std::int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i)
    sum += static_cast<double>(static_cast<float>(a[i])) *
           static_cast<double>(static_cast<float>(b[i]));
  return sum;
}

// Stores rounded to nearest even.
template <class T>
void copy_row(T* out, const float* in, std::int64_t n) {
  for_each_vector(n,
                  [=](std::int64_t i, auto lanes) { store(out + i, load(in + i, lanes), lanes); });
}

// out = scale·in
template <class T>
void scale_row(T* out, const float* in, float scale, std::int64_t n) {
  for_each_vector(
      n, [=](std::int64_t i, auto lanes) { store(out + i, scale * load(in + i, lanes), lanes); });
}

inline double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

inline double softplus(double x) {
  return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
}

}  // namespace dualpath
