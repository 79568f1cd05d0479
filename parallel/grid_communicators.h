// The communicators of one rank: of the whole job and of each group of the grid that it is in.
#pragma once

#include <array>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/process_grid.h"

namespace dualpath {

// What a rank has issued in each of its groups.
struct GridTraffic {
  static constexpr std::size_t world = num_grid_groups;
  static const char* name(std::size_t group);  // "tensor"; "world"

  Traffic& operator[](GridGroup group) { return groups[static_cast<std::size_t>(group)]; }
  GridTraffic& operator-=(const GridTraffic& earlier);
  bool operator==(const GridTraffic&) const = default;

  std::array<Traffic, num_grid_groups + 1> groups;  // by GridGroup, then the whole job's
};

class GridCommunicators {
 public:
  // Collective. `world` outlives this. REQUIRES: the grid has as many places as the world ranks.
  GridCommunicators(Communicator& world, const GridShape& shape);

  const GridShape& shape() const { return shape_; }
  Communicator& world() { return world_; }
  Communicator& of(GridGroup group) { return *groups_[static_cast<std::size_t>(group)]; }
  GridTraffic traffic() const;

 private:
  Communicator& world_;
  GridShape shape_;
  std::array<std::unique_ptr<Communicator>, num_grid_groups> groups_;
};

}  // namespace dualpath
