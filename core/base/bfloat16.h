// bfloat16: the upper half of an fp32 number, for storage; arithmetic is in float.
#pragma once

#include <bit>
#include <cstdint>

#include "core/base/host_device.h"

namespace dualpath {

struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  DUALPATH_HOST_DEVICE explicit bfloat16(float value) : bits(round(value)) {}
  // Loops vectorise over assignments of floats, not over those of whole structs.
  DUALPATH_HOST_DEVICE bfloat16& operator=(float value) {
    bits = round(value);
    return *this;
  }
  DUALPATH_HOST_DEVICE operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  // To nearest, ties to even; NaN stays NaN. Branch-free.
  DUALPATH_HOST_DEVICE static std::uint16_t round(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t nearest = word + 0x7fffU + ((word >> 16) & 1U);
    const bool nan = (word & 0x7fffffffU) > 0x7f800000U;
    return static_cast<std::uint16_t>((nan ? word | 0x400000U : nearest) >> 16);
  }
};

}  // namespace dualpath
