// Rounding to bfloat16 against its definition in fp64, for all 65536 numbers and what lies between.
#include "core/base/bfloat16.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>

#include "core/base/random.h"

namespace dualpath {
namespace {

constexpr int num_patterns = 1 << 16;

float from_word(std::uint32_t word) {
  return std::bit_cast<float>(word);
}

bfloat16 from_bits(int bits) {
  bfloat16 number;
  number.bits = static_cast<std::uint16_t>(bits);
  return number;
}

// The multiple of one unit in the last place that is nearest, ties to even: 8 significant bits, and
// no unit below 2^-133, that of the subnormal numbers. What rounds to 2^128 is infinite.
double nearest(double value) {
  if (!std::isfinite(value) || value == 0) return value;
  const double unit = std::ldexp(1, std::max(std::ilogb(value) - 7, -133));
  const double rounded = std::nearbyint(value / unit) * unit;
  const double infinity = std::numeric_limits<double>::infinity();
  return std::abs(rounded) < 0x1p128 ? rounded : std::copysign(infinity, value);
}

void expect_nearest(float value) {
  const bfloat16 rounded(value);
  const double expected = nearest(value);
  ASSERT_EQ(static_cast<double>(static_cast<float>(rounded)), expected) << value;
  ASSERT_EQ(std::signbit(static_cast<float>(rounded)), std::signbit(value)) << value;
  bfloat16 assigned;
  assigned = value;
  ASSERT_EQ(assigned.bits, rounded.bits) << value;
}

TEST(Bfloat16, EveryNumberComesBack) {
  for (int bits = 0; bits < num_patterns; ++bits) {
    const auto value = static_cast<float>(from_bits(bits));
    const bfloat16 again(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(again))) << bits;
    } else {
      EXPECT_EQ(again.bits, bits);
    }
  }
}

// Behind each number: the next float, halfway to the next number, and the floats beside that. The
// largest finite number's are among them, where infinity begins, and those of subnormal numbers.
TEST(Bfloat16, RoundsToNearestEven) {
  for (std::uint32_t high = 0; high < num_patterns; ++high) {
    for (const std::uint32_t low : {0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float value = from_word(high << 16 | low);
      if (!std::isnan(value)) expect_nearest(value);
    }
  }
  const CounterRng rng(1, "floats");
  for (std::uint64_t i = 0; i < 100000; ++i) {
    const float value = from_word(static_cast<std::uint32_t>(rng.bits(i)));
    if (!std::isnan(value)) expect_nearest(value);
  }
}

// Those too whose mark of not being a number lies in the half that is cut off.
TEST(Bfloat16, NotANumberStaysSoWithItsSign) {
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    for (const std::uint32_t mark :
         {1u, 0x7fffu, 0x8000u, 0xffffu, 0x10000u, 0x400000u, 0x7fffffu}) {
      const auto rounded = static_cast<float>(bfloat16(from_word(sign | 0x7f800000u | mark)));
      EXPECT_TRUE(std::isnan(rounded)) << mark;
      EXPECT_EQ(std::signbit(rounded), sign != 0) << mark;
    }
  }
}

}  // namespace
}  // namespace dualpath
