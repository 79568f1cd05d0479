#include "parallel/grid_communicators.h"

namespace dualpath {

const char* GridTraffic::name(std::size_t group) {
  return group == world ? "world" : name_of(static_cast<GridGroup>(group));
}

GridTraffic& GridTraffic::operator-=(const GridTraffic& earlier) {
  for (std::size_t i = 0; i < groups.size(); ++i) groups[i] -= earlier.groups[i];
  return *this;
}

GridTraffic GridCommunicators::traffic() const {
  GridTraffic traffic;
  for (std::size_t i = 0; i < groups_.size(); ++i) traffic.groups[i] = groups_[i]->traffic();
  traffic.groups[GridTraffic::world] = world_.traffic();
  return traffic;
}

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
