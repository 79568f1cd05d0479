// How a job is laid out over ranks, and what is recomputed instead of kept.
#pragma once

#include <cstdint>

#include "core/field.h"

namespace dualpath {

// What a layer keeps for its backward pass: everything; the input of every sublayer application
// (an extra iteration then costs one [tokens, d] tensor); or the layer's input alone.
enum class Recompute { none, iteration, layer };

template <>
struct EnumNames<Recompute> {
  static constexpr std::pair<Recompute, const char*> values[] = {
      {Recompute::none, "none"}, {Recompute::iteration, "iteration"}, {Recompute::layer, "layer"}};
};

struct ParallelConfig {
  std::int64_t tensor = 1;
  std::int64_t pipeline = 1;
  std::int64_t data = 0;  // 0: the number of ranks
  Recompute recompute = Recompute::none;
};

template <class Visitor>
void visit_fields(Visitor& visit, ParallelConfig& c) {
  visit.field("tensor", c.tensor,
              {.help = "ranks of the tensor axis; this version has data parallelism only",
               .min = 1,
               .max = 1});
  visit.field(
      "pipeline", c.pipeline,
      {.help = "pipeline stages; this version has data parallelism only", .min = 1, .max = 1});
  visit.field("data", c.data, {.help = "ranks of the data axis; 0: all ranks", .min = 0});
  visit.field("recompute", c.recompute,
              {.help = "activations recomputed in the backward pass instead of kept"});
}

}  // namespace dualpath
