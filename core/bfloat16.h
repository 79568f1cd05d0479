// bfloat16: the upper half of an fp32 number, for storage; arithmetic is in float.
#pragma once

#include <bit>
#include <cstdint>

namespace dualpath {

struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  // Rounds to nearest, ties to even; NaN stays NaN. Branch-free, so that loops vectorise.
  explicit bfloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = word + 0x7fffU + ((word >> 16) & 1U);
    const bool nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = static_cast<std::uint16_t>((nan ? word | 0x400000U : rounded) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

}  // namespace dualpath
