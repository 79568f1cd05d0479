// Which part of a model a rank has, and how it is to be computed.
#pragma once

#include <cstdint>
#include <vector>

#include "model/stage.h"

namespace dualpath {

// Which part of the model a rank has. By default all of it.
struct ModelPart {
  GridPlace place;
  Cut vocabulary = Cut::whole;      // of embedding and head
  std::vector<StageLayers> stages;  // in the model's order; empty: one stage with all layers
  // By stage: of how many micro-batches activations are held at once; empty: one each.
  std::vector<int> slots;
  // By stage: of how many the weight gradients that backward() leaves to backward_weights(); empty:
  // it leaves none.
  std::vector<int> deferred_slots;
  bool sharded_masters = false;  // see StoreOptions
  int message_buffers = 1;       // tensors [T, D] of what travels between stages

  int slots_of(std::size_t stage) const { return slots.empty() ? 1 : slots[stage]; }
  int deferred_slots_of(std::size_t stage) const {
    return deferred_slots.empty() ? 0 : deferred_slots[stage];
  }
};

struct ModelOptions {
  NumericTypes types = {};
  std::int64_t micro_batch_size = 1;  // sequences
  Recompute recompute = Recompute::none;
  std::int64_t loss_chunk_tokens = default_loss_chunk_tokens;
  std::int64_t forced_iterations = 0;  // of the deep paths, at evaluation; 0: the model's own
  bool training = true;                // false: no memory for a backward pass
  Tracer* tracer = nullptr;            // outlives the model; null: none
  ModelPart part = {};
};

}  // namespace dualpath
