// The vectorised functions against the C library in double, over floats of every size.
#include "core/cpu/vector_math.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

namespace dualpath {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every 509th bit pattern of a finite float: all signs and exponents.
std::vector<float> finite_floats() {
  std::vector<float> floats;
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 509) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(x)) floats.push_back(x);
  }
  return floats;
}

// Distance to the exact value in units of its last place as a float. Below 2^-125, 0 will do.
double ulps(float value, double exact) {
  if (exact < 0x1p-125 && 0 <= value && value < 0x1p-124) return 0;
  if (std::abs(exact) >= 0x1p128) return value == kInfinity ? 0 : kInfinity;
  const int exponent = exact == 0 ? -126 : std::max(std::ilogb(exact), -126);
  return std::abs(value - exact) / std::ldexp(1.0, exponent - 23);
}

struct Worst {
  double ulps = 0;
  float x = 0;
};

// As the kernels call it: in a loop that the compiler vectorises.
template <class Function, class Exact>
Worst worst_error(const Function& function, const Exact& exact) {
  const std::vector<float> inputs = finite_floats();
  std::vector<float> outputs(inputs.size());
#pragma omp simd
  for (std::size_t i = 0; i < inputs.size(); ++i) outputs[i] = function(inputs[i]);
  Worst worst;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const double error = ulps(outputs[i], exact(static_cast<double>(inputs[i])));
    if (!(error <= worst.ulps)) worst = {error, inputs[i]};
  }
  return worst;
}

TEST(VectorMath, ExpIsWithinTwoUlps) {
  const Worst worst =
      worst_error([](float x) { return simd_exp(x); }, [](double x) { return std::exp(x); });
  EXPECT_LT(worst.ulps, 2) << "at " << worst.x;
}

TEST(VectorMath, ExpAtTheEnds) {
  EXPECT_EQ(simd_exp(0), 1);
  EXPECT_EQ(simd_exp(kInfinity), kInfinity);
  EXPECT_EQ(simd_exp(-kInfinity), 0);
  EXPECT_EQ(simd_exp(88.8F), kInfinity);
  EXPECT_LT(simd_exp(88.7F), kInfinity);
  EXPECT_GT(simd_exp(-86), 0);
  EXPECT_EQ(simd_exp(-88), 0);
  EXPECT_TRUE(std::isnan(simd_exp(NAN)));
}

TEST(VectorMath, SigmoidIsWithinFourUlps) {
  const Worst worst = worst_error([](float x) { return simd_sigmoid(x); },
                                  [](double x) { return 1 / (1 + std::exp(-x)); });
  EXPECT_LT(worst.ulps, 4) << "at " << worst.x;
}

TEST(VectorMath, SigmoidAtTheEnds) {
  EXPECT_EQ(simd_sigmoid(0), 0.5F);
  EXPECT_EQ(simd_sigmoid(kInfinity), 1);
  EXPECT_EQ(simd_sigmoid(-kInfinity), 0);
  EXPECT_TRUE(std::isnan(simd_sigmoid(NAN)));
}

}  // namespace
}  // namespace dualpath
