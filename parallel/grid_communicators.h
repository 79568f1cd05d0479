// The communicators of one rank: of the whole job and of each group of the grid that it is in.
#pragma once

#include <array>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/process_grid.h"

namespace dualpath {

class GridCommunicators {
 public:
  // Collective. `world` outlives this. REQUIRES: the grid has as many places as the world ranks.
  GridCommunicators(Communicator& world, const GridShape& shape);

  const GridShape& shape() const { return shape_; }
  Communicator& world() { return world_; }
  Communicator& of(GridGroup group) { return *groups_[static_cast<std::size_t>(group)]; }

 private:
  Communicator& world_;
  GridShape shape_;
  std::array<std::unique_ptr<Communicator>, num_grid_groups> groups_;
};

}  // namespace dualpath
