// What the model code is handed: kernels, parameters and memory for one micro-batch.
//
// Shape suffixes used in this folder, as in core/ops/ops.h: T tokens of the micro-batch, D model
// width, F FFN hidden units, V vocabulary, H query heads, G key/value heads, E head size, K
// iterations, C = (H+2G)·E columns of q, k and v together, N = H+G.
#pragma once

#include <vector>

#include "core/base/tracer.h"
#include "core/device/arena.h"
#include "core/ops/ops.h"
#include "model/kv_cache.h"
#include "model/parameter_store.h"
#include "parallel/tensor_axis.h"

namespace dualpath {

struct RopeTables {
  Tensor cos_PR;  // P positions, R = E/2
  Tensor sin_PR;
};

// What a wide FFN's weight gradients are made of, once those of its inputs are known. Names as in
// model/ffn.h, the tokens those of all ranks of the tensor axis.
struct FfnWeightInputs {
  Tensor act_TF;
  Tensor dgate_up_T2F;
  Tensor dy_TD;
  Tensor normed_TD;
};

// Weight gradients of one micro-batch that a backward pass has left for later.
struct DeferredWeights {
  Arena arena;
  std::vector<FfnWeightInputs> inputs;  // in the order of the backward pass

  void clear() {
    arena.release(0);
    inputs.clear();
  }
};

// The rows of a pass as op::SegmentAttention takes them.
struct TextSegments {
  Tensor table_S3;
  std::int64_t longest = 0;  // rows
  double pairs = 0;          // of a row and a row that it attends to
};

// Gates that are not the model's own (op::ForcedGate), and memory for those that are.
struct GateForcing {
  Tensor forced_T2;
  Tensor source_T;
  Tensor own_T2;
};

// What a layer tells of each token, L layers: the columns C of op::PathReadout where it has both
// paths; of a deep path's K iterations the mixture weights, the router's q and ‖hᵏ - hᵏ⁻¹‖.
struct TokenReadouts {
  enum Norm { input, deep_update, wide_update, num_norms };  // ‖x‖, ‖h_deep - x‖, ‖h_wide - x‖
  Tensor paths_LTC;
  Tensor norms_L3T;
  Tensor weights_LKT;
  Tensor q_LKT;
  Tensor changes_LKT;
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
  // The ranks among which the wide FFN is cut.
  TensorAxis& tensor;
  // Where a backward pass leaves the wide FFNs' weight gradients undone; null: nothing is left.
  DeferredWeights* deferred = nullptr;
  // Told of layers, iterations and paths; null: nobody.
  Tracer* tracer = nullptr;
  // The tokens go on behind those it holds (inference); null: each sequence starts here.
  KvCache* cache = nullptr;
  // The rows are texts that share beginnings (inference); null: sequences of equal length.
  const TextSegments* segments = nullptr;
  const GateForcing* gates = nullptr;             // null: the gates are the model's
  const TokenReadouts* token_readouts = nullptr;  // =; null: nobody reads them

  std::int64_t tokens() const { return shape.tokens(); }
  // Tokens of all ranks of the tensor group: each has sequences of its own.
  std::int64_t group_tokens() const { return tokens() * tensor.size(); }
  const NumericTypes& types() const { return parameters.types(); }
  // For what the wide FFN's weight gradients are made of.
  Arena& weight_inputs_arena() const { return deferred == nullptr ? scratch : deferred->arena; }
};

}  // namespace dualpath
