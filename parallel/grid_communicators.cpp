#include "parallel/grid_communicators.h"

namespace dualpath {

GridCommunicators::GridCommunicators(Communicator& world, const GridShape& shape)
    : world_(world), shape_(shape) {
  CHECK(shape.size() == world.size(), "a grid of {} places for {} ranks", shape.size(),
        world.size());
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const auto group = static_cast<GridGroup>(i);
    const GroupSplit split = group_split(group, world.rank(), shape);
    groups_[i] = world.split(split.color, split.key, name_of(group));
  }
}

}  // namespace dualpath
