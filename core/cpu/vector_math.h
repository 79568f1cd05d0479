// Elementary functions of one float without branches or calls, so that loops under
// `#pragma omp simd` vectorise. Errors are < 2 ulp unless said otherwise.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace dualpath {

// e^x: e^x = 2^n·e^r with n = round(x/ln 2), |r| <= ln 2/2, ln 2 in two parts (Cody and Waite) and
// Cephes' minimax polynomial for e^r. Subnormal results, 0, +inf and NaN as std::exp gives them.
inline float simd_exp(float x) {
  x = x > 89.0F ? 89.0F : x;            // e^89 overflows to inf below
  x = x < -104.0F ? -104.0F : x;        // e^-104 underflows to 0 below
  constexpr float round = 12582912.0F;  // 1.5·2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504089F + round;
  const float n = shifted - round;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;

  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * r) * r + r + 1.0F;

  // 2^n as two factors: n reaches from -150 to 128, beyond what one float's exponent holds.
  const std::int32_t exponent =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(round);
  const std::int32_t half = exponent >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((exponent - half + 127) << 23);
  return p * scale1 * scale2;
}

// 1/(1 + e^-x), to full relative accuracy on both sides; < 4 ulp.
inline float simd_sigmoid(float x) {
  const float e = simd_exp(-std::fabs(x));
  const float larger = 1.0F / (1.0F + e);
  return x > 0.0F ? larger : e * larger;
}

}  // namespace dualpath
