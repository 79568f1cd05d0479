// A flat piece of a named global tensor: the currency between parameters, optimizer state and
// checkpoints. Every cut of a parameter over ranks is such an interval, so that loading any layout
// into any other is the intersection of intervals.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/tensor.h"

namespace dualpath {

struct TensorSlice {
  std::string name;  // "parameters/layers.0.deep.ffn.gate", "adam_m/…"
  DType dtype;
  Shape global_shape;  // of the whole tensor
  std::int64_t begin;  // flat element interval [begin, end) of the whole tensor
  std::int64_t end;
  void* data;  // end - begin elements, in the memory of a device
};

}  // namespace dualpath
