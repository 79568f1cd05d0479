#include "parallel/process_grid.h"

#include "core/base/error.h"

namespace dualpath {

namespace {

// Whether two different ranks are in one group.
bool together(GridGroup group, const GridCoord& a, const GridCoord& b, const GridShape& shape) {
  const bool tensor = a.tensor == b.tensor, data = a.data == b.data;
  const bool stage = a.pipeline == b.pipeline;
  const auto at_an_end = [&](const GridCoord& coord) {
    return coord.pipeline == 0 || coord.pipeline == shape.pipeline - 1;
  };
  const bool ends = at_an_end(a) && at_an_end(b);
  switch (group) {
    case GridGroup::tensor:
      return data && stage;
    case GridGroup::data:
      return tensor && stage;
    case GridGroup::replicated:
      return stage;
    case GridGroup::pipeline:
      return tensor && data;
    case GridGroup::tied:
      return ends;
    case GridGroup::tied_shard:
      return ends && tensor;
  }
  CHECK(false, "group {}", static_cast<int>(group));
}

}  // namespace

GridCoord coord_of(int rank, const GridShape& shape) {
  CHECK(0 <= rank && rank < shape.size(), "rank {} of a grid of {}", rank, shape.size());
  return {.tensor = rank % shape.tensor,
          .data = rank / shape.tensor % shape.data,
          .pipeline = rank / (shape.tensor * shape.data)};
}

int rank_of(const GridCoord& coord, const GridShape& shape) {
  const auto inside = [](int place, int size) { return 0 <= place && place < size; };
  CHECK(inside(coord.tensor, shape.tensor) && inside(coord.data, shape.data) &&
            inside(coord.pipeline, shape.pipeline),
        "t{} p{} d{} of a grid of t{} p{} d{}", coord.tensor, coord.pipeline, coord.data,
        shape.tensor, shape.pipeline, shape.data);
  return (coord.pipeline * shape.data + coord.data) * shape.tensor + coord.tensor;
}

const char* name_of(GridGroup group) {
  constexpr const char* names[num_grid_groups] = {"tensor",   "data", "replicated",
                                                  "pipeline", "tied", "tied_shard"};
  return names[static_cast<std::size_t>(group)];
}

std::vector<int> group_members(GridGroup group, int rank, const GridShape& shape) {
  const GridCoord coord = coord_of(rank, shape);
  std::vector<int> members;
  for (int other = 0; other < shape.size(); ++other) {
    if (other == rank || together(group, coord, coord_of(other, shape), shape)) {
      members.push_back(other);
    }
  }
  return members;
}

GroupSplit group_split(GridGroup group, int rank, const GridShape& shape) {
  return {.color = group_members(group, rank, shape).front(), .key = rank};
}

std::string rank_prefix(int rank, const GridShape& shape) {
  if (shape.size() == 1) return "";
  const GridCoord coord = coord_of(rank, shape);
  std::string prefix = fmt::format("[rank {}", rank);
  if (shape.tensor > 1) prefix += fmt::format(" t{}", coord.tensor);
  if (shape.pipeline > 1) prefix += fmt::format(" p{}", coord.pipeline);
  if (shape.data > 1) prefix += fmt::format(" d{}", coord.data);
  return prefix + "] ";
}

}  // namespace dualpath
