// Which layers every pipeline stage holds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parallel/pipeline_order.h"

namespace dualpath {

// Costs of one micro-batch, in any unit.
struct LayerCosts {
  std::vector<double> layers;
  double embedding = 0;  // beside the first layer
  double head = 0;       // beside the last layer
};

// Layers begin to end - 1.
struct LayerRange {
  int begin = 0;
  int end = 0;

  int size() const { return end - begin; }
  bool operator==(const LayerRange&) const = default;
};

// Why `layers` layers cannot be cut into the shape's pieces, with the nearest right thing; "" where
// they can. `piece_layers`: how many layers each piece has; empty: any.
std::string partition_problem(int layers, std::span<const std::int64_t> piece_layers,
                              const PipelineShape& shape);

// The layers of every piece (see PipelineShape::piece), in order, at least one each. Where
// piece_layers is empty, the largest cost of a piece is the least there is and, with that, the
// smallest the largest there is; of equal layers the last pieces have those left over, as their
// stages hold fewer micro-batches. A configuration Error where partition_problem finds one.
std::vector<LayerRange> partition_layers(const LayerCosts& costs,
                                         std::span<const std::int64_t> piece_layers,
                                         const PipelineShape& shape);

// Embedding and head included.
double piece_cost(const LayerCosts& costs, const LayerRange& range);

}  // namespace dualpath
