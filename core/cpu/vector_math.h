// Elementary functions of a float without branches or calls, for loops that vectorise under
// `#pragma omp simd`, and of a whole Vector. Errors are < 2 ulp unless said otherwise; results
// below 2^-125 may be 0.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/cpu/vector.h"

namespace dualpath {

using VectorBits [[gnu::vector_size(vector_lanes * sizeof(std::uint32_t))]] = std::uint32_t;

// NaN stays NaN.
inline float clamp(float x, float low, float high) {
  x = x > high ? high : x;
  return x < low ? low : x;
}
inline Vector clamp(Vector x, float low, float high) {
  x = x > high ? Vector{} + high : x;
  return x < low ? Vector{} + low : x;
}

// e^x = 2^n·e^r with n = round(x/ln 2), |r| <= ln 2/2, ln 2 in two parts (Cody and Waite) and
// Cephes' minimax polynomial for e^r. 0, +inf and NaN as std::exp gives them.
template <class Number, class Bits>
inline Number exp_of(Number x) {
  // e^89 overflows to inf below; -87.33 has n = -126, which stands for 0 below.
  x = clamp(x, -87.33F, 89.0F);
  // 1.5·2^23 + 126: adding it rounds to an integer, which, 126 larger, is in the sum's last bits.
  constexpr float round = 12583038.0F;
  const Number shifted = x * 1.44269504089F + round;
  const Number n = shifted - round;
  const Number r = (x - n * 0.693359375F) + n * 2.12194440e-4F;

  Number p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * r) * r + r + 1.0F;

  // 2^(n-1), whose exponent field is n+126: n = 128 has room so, and n = -126 gives 0.
  const auto half_scale = std::bit_cast<Number>(std::bit_cast<Bits>(shifted) << 23);
  return (p + p) * half_scale;
}

inline float simd_exp(float x) {
  return exp_of<float, std::uint32_t>(x);
}
inline Vector simd_exp(Vector x) {
  return exp_of<Vector, VectorBits>(x);
}

// 1/(1 + e^-x), to full relative accuracy on both sides; < 4 ulp.
inline float simd_sigmoid(float x) {
  return 1.0F / (1.0F + simd_exp(-x));
}
inline Vector simd_sigmoid(Vector x) {
  return 1.0F / (1.0F + simd_exp(-x));
}

}  // namespace dualpath
