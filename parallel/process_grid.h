// ProcessGrid: how the ranks of a job stand on the axes tensor, data and pipeline. Pure arithmetic.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dualpath {

// The sizes of the axes.
struct GridShape {
  int tensor = 1;
  int data = 1;
  int pipeline = 1;

  int size() const { return tensor * data * pipeline; }
};

struct GridCoord {
  int tensor = 0;
  int data = 0;
  int pipeline = 0;

  bool operator==(const GridCoord&) const = default;
};

// Tensor runs fastest, pipeline slowest: rank = (pipeline·data_size + data)·tensor_size + tensor.
GridCoord coord_of(int rank, const GridShape& shape);
int rank_of(const GridCoord& coord, const GridShape& shape);

// Groups of ranks. The ranks of a group stand in it in ascending order.
enum class GridGroup {
  tensor,      // one data rank of one stage: they share the wide FFN's weights
  data,        // one tensor rank of one stage: they hold the same cut weights
  replicated,  // one stage: they hold the same replicated weights. A member's place,
               // data·tensor_size + tensor, is also which part of a micro-batch it reads.
  pipeline,    // one tensor and data rank: a member's place is its stage
  tied,        // first and last stage: they hold the same replicated, tied embedding
  tied_shard,  // one tensor rank of the first and last stage: the tied embedding is cut
};

inline constexpr std::size_t num_grid_groups = 6;
const char* name_of(GridGroup group);  // "tensor"

// The world ranks of this rank's group, ascending. Ranks between first and last stage are each
// alone in their tied group; with one stage, tied is replicated and tied_shard is data.
std::vector<int> group_members(GridGroup group, int rank, const GridShape& shape);

// What Communicator::split needs to form all groups of this kind at once.
struct GroupSplit {
  int color = 0;
  int key = 0;
};
GroupSplit group_split(GridGroup group, int rank, const GridShape& shape);

// "[rank 3 t1 p0 d1] ", without the axes of size 1; "" for a single rank.
std::string rank_prefix(int rank, const GridShape& shape);

}  // namespace dualpath
