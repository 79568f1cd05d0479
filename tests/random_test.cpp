#include "core/base/random.h"

#include <cmath>
#include <gtest/gtest.h>
#include <sched.h>
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

// Enough of them for several threads, on all of the machine's cores and bound to one; what lies
// behind them is not written.
TEST(CounterRng, ManyNumbersAreTheSameAsFew) {
  const CounterRng rng(42, "head");
  cpu_set_t all, one_core;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one_core);
  CPU_SET(sched_getcpu(), &one_core);
  for (const cpu_set_t& cores : {all, one_core}) {
    ASSERT_EQ(sched_setaffinity(0, sizeof cores, &cores), 0);
    std::vector<float> many(200'001, 7);
    rng.normal(std::span<float>(many).first(200'000), 3, 0, 1);
    EXPECT_EQ(many.back(), 7);
    float one = 0;
    for (std::size_t i = 0; i + 1 < many.size(); ++i) {
      rng.normal({&one, 1}, 3 + i, 0, 1);
      ASSERT_EQ(many[i], one) << i;
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

// The published first answer of Philox 4x32-10, for a key and counter of zeros (Random123,
// kat_vectors). This seed and an empty stream name make the key zero.
TEST(CounterRng, IsPhilox) {
  EXPECT_EQ(CounterRng(0x399259558421012f, "").bits(0), 0xE169C58D6627E8D5u);
}

// Runs and shuffles are resumed by later builds: their numbers must never change.
TEST(CounterRng, ItsNumbersAreFrozen) {
  const CounterRng rng(42, "layers.0.deep.ffn.gate");
  EXPECT_EQ(rng.bits(0), 0xD9EEDCCF7AEDA87Eu);
  EXPECT_EQ(rng.bits(std::uint64_t{1} << 40), 0xEDDF383D52F70044u);
  EXPECT_EQ(rng.uniform(3), 0.27006705907306094);
  EXPECT_EQ(rng.below(9, 1000), 430u);
  const Permutation permutation(3, "epoch 0", 1000);
  EXPECT_EQ(permutation(0), 591u);
  EXPECT_EQ(permutation(999), 977u);
}

TEST(CounterRng, BelowIsFair) {
  constexpr std::uint64_t bound = 7, draws = 70000;
  const CounterRng rng(5, "die");
  std::vector<double> counts(bound);
  for (std::uint64_t i = 0; i < draws; ++i) counts.at(rng.below(i, bound)) += 1;
  const double expected = draws / bound;
  // Five standard errors of a binomial count.
  for (double count : counts) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected * 6 / 7));
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

// A shuffle that kept neighbours together, or repeated itself in the next epoch, would show as a
// surplus of pairs; in a random permutation each count has mean 1 and variance about 1.
TEST(Permutation, ShufflesAndDiffersBetweenEpochs) {
  constexpr std::uint64_t size = 5000;
  const Permutation first(3, "epoch 0", size), second(3, "epoch 1", size);
  int fixed = 0, neighbours = 0, repeated = 0;
  for (std::uint64_t i = 0; i < size; ++i) {
    fixed += first(i) == i;
    neighbours += i + 1 < size && first(i + 1) == first(i) + 1;
    repeated += first(i) == second(i);
  }
  EXPECT_LE(fixed, 10);
  EXPECT_LE(neighbours, 10);
  EXPECT_LE(repeated, 10);
}

}  // namespace
}  // namespace dualpath
