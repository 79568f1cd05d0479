#include "parallel/process_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/expect_error.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;

constexpr GridGroup all_groups[] = {GridGroup::tensor,   GridGroup::data, GridGroup::replicated,
                                    GridGroup::pipeline, GridGroup::tied, GridGroup::tied_shard};

template <class Action>
void for_each_shape(const Action& action) {
  for (int tensor : {1, 2, 3}) {
    for (int data : {1, 2, 4}) {
      for (int pipeline : {1, 2, 3, 4}) {
        const GridShape shape{.tensor = tensor, .data = data, .pipeline = pipeline};
        SCOPED_TRACE(testing::Message() << "t" << tensor << " d" << data << " p" << pipeline);
        action(shape);
      }
    }
  }
}

TEST(ProcessGrid, TensorRunsFastestPipelineSlowest) {
  for_each_shape([](const GridShape& shape) {
    int rank = 0;
    for (int pipeline = 0; pipeline < shape.pipeline; ++pipeline) {
      for (int data = 0; data < shape.data; ++data) {
        for (int tensor = 0; tensor < shape.tensor; ++tensor, ++rank) {
          const GridCoord coord{.tensor = tensor, .data = data, .pipeline = pipeline};
          EXPECT_EQ(coord_of(rank, shape), coord);
          EXPECT_EQ(rank_of(coord, shape), rank);
        }
      }
    }
    EXPECT_EQ(rank, shape.size());
  });
}

// t2 d2 p3: stage 0 is ranks 0 to 3, stage 1 is 4 to 7, stage 2 is 8 to 11.
TEST(ProcessGrid, GroupsOfASmallGrid) {
  const GridShape shape{.tensor = 2, .data = 2, .pipeline = 3};
  EXPECT_THAT(group_members(GridGroup::tensor, 7, shape), ElementsAre(6, 7));
  EXPECT_THAT(group_members(GridGroup::data, 7, shape), ElementsAre(5, 7));
  EXPECT_THAT(group_members(GridGroup::replicated, 7, shape), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(group_members(GridGroup::pipeline, 7, shape), ElementsAre(3, 7, 11));
  EXPECT_THAT(group_members(GridGroup::tied, 7, shape), ElementsAre(7));
  EXPECT_THAT(group_members(GridGroup::tied_shard, 7, shape), ElementsAre(7));
  EXPECT_THAT(group_members(GridGroup::tied, 3, shape), ElementsAre(0, 1, 2, 3, 8, 9, 10, 11));
  EXPECT_THAT(group_members(GridGroup::tied_shard, 3, shape), ElementsAre(1, 3, 9, 11));
}

// Split as a communicator does it: the ranks of one color, ordered by key.
TEST(ProcessGrid, SplitFormsTheGroups) {
  for_each_shape([](const GridShape& shape) {
    for (GridGroup group : all_groups) {
      std::map<int, std::map<int, int>> ranks_by_color_and_key;
      for (int rank = 0; rank < shape.size(); ++rank) {
        const GroupSplit split = group_split(group, rank, shape);
        EXPECT_GE(split.color, 0);  // what MPI demands
        ranks_by_color_and_key[split.color][split.key] = rank;
      }
      for (int rank = 0; rank < shape.size(); ++rank) {
        std::vector<int> ranks;
        for (auto [key, member] : ranks_by_color_and_key[group_split(group, rank, shape).color]) {
          ranks.push_back(member);
        }
        EXPECT_EQ(ranks, group_members(group, rank, shape));
      }
    }
  });
}

TEST(ProcessGrid, APlaceInAGroupIsACoordinate) {
  for_each_shape([](const GridShape& shape) {
    for (int rank = 0; rank < shape.size(); ++rank) {
      const GridCoord coord = coord_of(rank, shape);
      const auto member = [&](GridGroup group, int place) {
        return group_members(group, rank, shape).at(static_cast<std::size_t>(place));
      };
      EXPECT_EQ(member(GridGroup::tensor, coord.tensor), rank);
      EXPECT_EQ(member(GridGroup::data, coord.data), rank);
      EXPECT_EQ(member(GridGroup::pipeline, coord.pipeline), rank);
      EXPECT_EQ(member(GridGroup::replicated, coord.data * shape.tensor + coord.tensor), rank);
    }
  });
}

TEST(ProcessGrid, TiedGroupsOfOneStageAreTheGroupsOfItsWeights) {
  const GridShape shape{.tensor = 2, .data = 3, .pipeline = 1};
  for (int rank = 0; rank < shape.size(); ++rank) {
    EXPECT_EQ(group_members(GridGroup::tied, rank, shape),
              group_members(GridGroup::replicated, rank, shape));
    EXPECT_EQ(group_members(GridGroup::tied_shard, rank, shape),
              group_members(GridGroup::data, rank, shape));
  }
}

TEST(ProcessGrid, PrefixNamesTheAxesInUse) {
  EXPECT_EQ(rank_prefix(0, {}), "");
  EXPECT_EQ(rank_prefix(3, {.tensor = 2, .data = 2, .pipeline = 2}), "[rank 3 t1 p0 d1] ");
  EXPECT_EQ(rank_prefix(3, {.data = 4}), "[rank 3 d3] ");
  EXPECT_EQ(rank_prefix(3, {.tensor = 2, .pipeline = 2}), "[rank 3 t1 p1] ");
}

TEST(ProcessGrid, RanksOutsideAreDefects) {
  EXPECT_EQ(error_of(ExitCode::internal, [] { coord_of(4, {.data = 4}); }),
            "rank 4 of a grid of 4");
  EXPECT_EQ(error_of(ExitCode::internal, [] { rank_of({.data = 4}, {.data = 4}); }),
            "t0 p0 d4 of a grid of t1 p1 d4");
}

}  // namespace
}  // namespace dualpath
