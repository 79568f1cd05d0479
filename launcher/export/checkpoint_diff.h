// What differs between two checkpoints, tensor by tensor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "data/checkpoints/checkpoint_store.h"

namespace dualpath {

struct TensorDiff {
  std::string name;
  std::int64_t elements = 0;
  std::int64_t differing = 0;  // elements whose bits are not the same
  double largest = 0;          // |a − b|; NaN where one is not finite and the bits differ
  double difference_norm = 0;  // ‖a − b‖
  double norm_a = 0, norm_b = 0;
};

struct CheckpointDiff {
  std::vector<TensorDiff> tensors;  // that differ, of those that both have in one shape
  std::vector<std::string> only_a, only_b;
  std::vector<std::string> other_form;  // another shape or type: a line each
  std::vector<ConfigChange> model;
  std::vector<ConfigChange> state;  // step, samples, tokens, tokenizer
  std::int64_t num_equal = 0;       // tensors

  bool is_equal() const;
};

CheckpointDiff compare_checkpoints(const Checkpoint& a, const Checkpoint& b);
// A table for people.
std::string print_diff(const CheckpointDiff& diff);

}  // namespace dualpath
