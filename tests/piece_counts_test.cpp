#include "data/text/piece_counts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/random_text.h"

namespace dualpath {
namespace {

using Counts = std::map<std::string, std::int64_t>;

Counts counts_of(const PieceCounts& pieces) {
  Counts counts;
  pieces.for_each([&](std::string_view piece, std::int64_t count) {
    EXPECT_TRUE(counts.emplace(piece, count).second) << piece;
  });
  EXPECT_EQ(counts.size(), pieces.size());
  return counts;
}

TEST(PieceCounts, CountsEveryPiece) {
  const Segmenter segmenter(SplitRule::gpt2);
  PieceCounts whole, even, odd;
  Counts expected;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string text = random_text(seed, 200) + random_bytes(seed, 200);
    segmenter.segment(
        text, SpecialTokens::as_text,
        [&](std::string_view piece) { ++expected[std::string(piece)]; }, [](std::uint32_t) {});
    whole.add_text(segmenter, text);
    (seed % 2 == 0 ? even : odd).add_text(segmenter, text);
  }
  EXPECT_GT(expected.size(), 1000u);  // the table has grown several times
  EXPECT_EQ(counts_of(whole), expected);
  EXPECT_EQ(whole.max_error(), 0);
  odd.add(even);
  EXPECT_EQ(counts_of(odd), expected);
}

TEST(PieceCounts, ABoundedTableKeepsTheFrequentAndTellsItsError) {
  constexpr std::uint64_t max_bytes = 100 * 70;
  PieceCounts bounded(max_bytes);
  Counts expected;
  const CounterRng rng(1, "pieces");
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    // Every second one of ten words, the others all different.
    const std::string piece =
        i % 2 == 0 ? fmt::format("word{}", rng.below(i, 10)) : fmt::format("rare{}", i);
    ++expected[piece];
    bounded.add(piece, 1);
    ASSERT_LE(bounded.size() * 64, max_bytes);
  }
  EXPECT_GT(bounded.max_error(), 0);
  const Counts counts = counts_of(bounded);
  for (const auto& [piece, count] : counts) EXPECT_LE(count, expected[piece]);
  int frequent = 0;
  for (const auto& [piece, count] : expected) {
    const auto found = counts.find(piece);
    const std::int64_t counted = found == counts.end() ? 0 : found->second;
    EXPECT_GE(counted + bounded.max_error(), count) << piece;
    if (counted > bounded.max_error()) ++frequent;
  }
  EXPECT_EQ(frequent, 10);
}

TEST(PieceCounts, APieceLargerThanTheBoundIsDropped) {
  PieceCounts pieces(1000);
  pieces.add("word", 5);
  pieces.add(std::string(2000, 'x'), 2);
  EXPECT_EQ(counts_of(pieces), (Counts{{"word", 5}}));
  EXPECT_EQ(pieces.max_error(), 2);
}

}  // namespace
}  // namespace dualpath
