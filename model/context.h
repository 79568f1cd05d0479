// What the model code is handed: kernels, parameters and memory for one micro-batch.
//
// Shape suffixes used in this folder, as in core/ops.h: T tokens of the micro-batch, D model width,
// F FFN hidden units, V vocabulary, H query heads, G key/value heads, E head size, K iterations,
// C = (H+2G)·E columns of q, k and v together, N = H+G.
#pragma once

#include "core/arena.h"
#include "core/ops.h"
#include "model/kv_cache.h"
#include "model/parameter_store.h"

namespace dualpath {

struct RopeTables {
  Tensor cos_PR;  // P positions, R = E/2
  Tensor sin_PR;
};

struct Context {
  Ops& ops;
  const ParameterStore& parameters;
  Arena& stash;    // what the forward pass keeps for the backward pass
  Arena& scratch;  // what one function needs while it runs
  RopeTables rope;
  AttentionShape shape;
  // Where a layer adds its read-outs' sums over tokens ([L, num_readouts], f64); empty: not wanted.
  Tensor readouts;
  // The tokens go on behind those it holds (inference); null: each sequence starts here.
  KvCache* cache = nullptr;

  std::int64_t tokens() const { return shape.tokens(); }
  const NumericTypes& types() const { return parameters.types(); }
};

}  // namespace dualpath
