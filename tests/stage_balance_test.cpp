#include "parallel/stage_balance.h"

#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <utility>

#include "core/base/random.h"
#include "tests/expect_error.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;

std::vector<int> sizes(const std::vector<LayerRange>& ranges) {
  std::vector<int> result;
  for (const LayerRange& range : ranges) result.push_back(range.size());
  return result;
}

LayerCosts equal_layers(int layers, double embedding = 0, double head = 0) {
  return {std::vector<double>(static_cast<std::size_t>(layers), 1), embedding, head};
}

// The largest cost of a piece, and minus the smallest: less is better, the largest first.
using Merit = std::pair<double, double>;

Merit merit_of(const LayerCosts& costs, const std::vector<LayerRange>& ranges) {
  std::vector<double> pieces;
  for (const LayerRange& range : ranges) pieces.push_back(piece_cost(costs, range));
  const auto [least, most] = std::minmax_element(pieces.begin(), pieces.end());
  return {*most, -*least};
}

Merit best_by_trying_all(const LayerCosts& costs, int pieces) {
  const int layers = static_cast<int>(costs.layers.size());
  std::vector<Merit> merits;
  std::vector<LayerRange> ranges;
  const std::function<void(int)> extend = [&](int begin) {
    const int left = pieces - static_cast<int>(ranges.size());
    if (left == 0) {
      if (begin == layers) merits.push_back(merit_of(costs, ranges));
      return;
    }
    for (int end = begin + 1; end <= layers; ++end) {
      ranges.push_back({begin, end});
      extend(end);
      ranges.pop_back();
    }
  };
  extend(0);
  return *std::min_element(merits.begin(), merits.end());
}

TEST(StageBalance, IsTheBestOfAll) {
  const CounterRng rng(11, "costs");
  std::uint64_t draw = 0;
  for (int layers = 1; layers <= 9; ++layers) {
    for (int pieces = 1; pieces <= std::min(layers, 6); ++pieces) {
      for (int repeat = 0; repeat < 10; ++repeat) {
        // Few different whole numbers, so that there are ties.
        LayerCosts costs;
        for (int i = 0; i < layers; ++i) {
          costs.layers.push_back(1.0 + static_cast<double>(rng.below(draw++, 4)));
        }
        costs.embedding = static_cast<double>(rng.below(draw++, 4));
        costs.head = static_cast<double>(rng.below(draw++, 8));
        const auto ranges = partition_layers(costs, {}, {pieces, 1});
        EXPECT_EQ(merit_of(costs, ranges), best_by_trying_all(costs, pieces));
        int begin = 0;
        for (const LayerRange& range : ranges) {
          EXPECT_EQ(range.begin, begin);
          begin = range.end;
        }
        EXPECT_EQ(begin, layers);
      }
    }
  }
}

TEST(StageBalance, EqualLayers) {
  const auto balanced = [](const LayerCosts& costs, const PipelineShape& shape) {
    return sizes(partition_layers(costs, {}, shape));
  };
  EXPECT_THAT(balanced(equal_layers(8), {4, 1}), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(balanced(equal_layers(10), {4, 1}), ElementsAre(2, 2, 3, 3));
  EXPECT_THAT(balanced(equal_layers(10), {2, 2}), ElementsAre(2, 2, 3, 3));
  // A head as dear as two layers.
  EXPECT_THAT(balanced(equal_layers(10, 0, 2), {4, 1}), ElementsAre(3, 3, 3, 1));
  EXPECT_THAT(balanced(equal_layers(10, 2, 0), {4, 1}), ElementsAre(1, 3, 3, 3));
  EXPECT_THAT(balanced(equal_layers(3), {1, 1}), ElementsAre(3));
}

TEST(StageBalance, TakesTheUsersNumbers) {
  const std::vector<std::int64_t> numbers{1, 4, 3};
  const auto ranges = partition_layers(equal_layers(8), numbers, {3, 1});
  EXPECT_THAT(ranges, ElementsAre(LayerRange{0, 1}, LayerRange{1, 5}, LayerRange{5, 8}));
}

TEST(StageBalance, CostsOfEmbeddingAndHead) {
  const LayerCosts costs{{1, 2, 4}, 8, 16};
  EXPECT_EQ(piece_cost(costs, {0, 1}), 9);
  EXPECT_EQ(piece_cost(costs, {1, 2}), 2);
  EXPECT_EQ(piece_cost(costs, {1, 3}), 22);
  EXPECT_EQ(piece_cost(costs, {0, 3}), 31);
}

TEST(StageBalance, RefusesWhatCannotBe) {
  const std::vector<std::int64_t> three{2, 2, 2}, zero{2, 0, 2, 2}, four{2, 2, 2, 2};
  EXPECT_EQ(partition_problem(3, {}, {4, 1}), "4 stages want at least 4 layers, the model has 3");
  EXPECT_EQ(partition_problem(7, {}, {4, 2}),
            "4 stages of 2 chunks want at least 8 layers, the model has 7");
  EXPECT_EQ(partition_problem(8, three, {4, 1}), "4 stages want 4 numbers of layers, not 3");
  EXPECT_EQ(partition_problem(8, zero, {2, 2}), "piece 1 has 0 layers, the least is 1");
  EXPECT_EQ(partition_problem(9, four, {4, 1}), "the pieces have 8 layers together, the model 9");
  EXPECT_EQ(partition_problem(8, four, {4, 1}), "");
  EXPECT_EQ(partition_problem(8, {}, {4, 2}), "");
  EXPECT_EQ(error_of(ExitCode::configuration,
                     [] {
                       partition_layers(equal_layers(3), {}, {4, 1});
                     }),
            partition_problem(3, {}, {4, 1}));
}

}  // namespace
}  // namespace dualpath
