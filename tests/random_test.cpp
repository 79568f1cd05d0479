#include "core/random.h"

#include <cmath>
#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace dualpath {
namespace {

TEST(CounterRng, AnyPartOfAStreamIsTheSameNumbers) {
  const CounterRng rng(42, "layers.0.deep.ffn.gate");
  std::vector<float> whole(101), part(50);
  rng.normal(std::span<float>(whole), 0, 0, 1);
  for (std::uint64_t begin : {0u, 1u, 7u, 50u}) {
    rng.normal(std::span<float>(part), begin, 0, 1);
    for (std::size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], whole[begin + i]);
  }
}

TEST(CounterRng, SeedsAndStreamsDiffer) {
  EXPECT_NE(CounterRng(1, "a").bits(0), CounterRng(2, "a").bits(0));
  EXPECT_NE(CounterRng(1, "a").bits(0), CounterRng(1, "b").bits(0));
}

TEST(CounterRng, NormalHasItsMoments) {
  constexpr int n = 1 << 18;
  std::vector<double> x(n);
  CounterRng(7, "moments").normal(std::span<double>(x), 0, 1, 2);
  double sum = 0, squares = 0, fourth = 0;
  for (double v : x) {
    const double z = (v - 1) / 2;
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  // Five standard errors of each estimate.
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96.0 / n));
}

TEST(Permutation, IsABijectionAtEverySize) {
  for (std::uint64_t size : {1u, 2u, 3u, 16u, 17u, 1000u, 4097u}) {
    const Permutation permutation(3, "epoch 0", size);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) seen.insert(permutation(i));
    EXPECT_EQ(seen.size(), size);
    EXPECT_LT(*seen.rbegin(), size);
  }
}

}  // namespace
}  // namespace dualpath
