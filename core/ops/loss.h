// Cross-entropy: loss_T = log Σ_v exp(logits) - logits[target]; target -1 is ignored: loss 0,
// gradient 0. Whole, or where R ranks hold a part of the vocabulary each, V rows here: each rank
// finds the statistics of its logits, all gather them, and from all R each finds the loss, the same
// everywhere, and the gradient of its own logits.
#pragma once

#include "core/ops/movement.h"

namespace dualpath::op {

// dlogits = (softmax - onehot)·grad_scale; empty: not wanted. It may be logits' memory; otherwise
// it uses logits up.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  Tensor loss_T;
  Tensor dlogits_TV = {};
  Tensor logits_TV, targets_T;
  double grad_scale;

  void operands(Contract& call) const {
    call.rank("logits", logits_TV, 2);
    call.write("loss", loss_T, TypeClass::master, {logits_TV.shape[0]});
    call.write_if(!dlogits_TV.empty(), "dlogits", dlogits_TV, TypeClass::operand, logits_TV.shape);
    if (uses_up_logits()) {
      call.update("logits", logits_TV, TypeClass::master, logits_TV.shape);
    } else {
      call.read_in_place("logits", logits_TV, TypeClass::master, logits_TV.shape, dlogits_TV);
    }
    call.read("targets", targets_T, TypeClass::i32, {logits_TV.shape[0]});
  }
  // In a dry run, where no tensor has memory, tensors of two types are two.
  bool uses_up_logits() const {
    const bool apart = dlogits_TV.data != logits_TV.data || dlogits_TV.dtype != logits_TV.dtype;
    return !dlogits_TV.empty() && apart;
  }
};

// stats_T3 = (m, s, z): m = max_v logits[v], s = Σ_v exp(logits[v] - m),
// z = logits[target - rows.first], or 0 where the target's row is in another part. For target -1
// all three are 0.
struct VocabularyStatistics {
  static constexpr const char* name = "vocabulary_statistics";
  Tensor stats_T3, logits_TV, targets_T;
  VocabularyRows rows;

  void operands(Contract& call) const {
    call.rank("logits", logits_TV, 2);
    call.write("stats", stats_T3, TypeClass::master, {logits_TV.shape[0], 3});
    call.read("logits", logits_TV, TypeClass::master, logits_TV.shape);
    call.read("targets", targets_T, TypeClass::i32, {logits_TV.shape[0]});
    rows.require(call, logits_TV.shape[1]);
  }
};

// (m_r, s_r, z_r) = stats[r, t], M = max_r m_r, S = Σ_r s_r·exp(m_r - M):
// loss_T = log S + M - Σ_r z_r, dlogits = (exp(logits - M)/S - onehot)·grad_scale, as in
// CrossEntropy; where it is empty logits are not read.
struct ShardedCrossEntropy {
  static constexpr const char* name = "sharded_cross_entropy";
  Tensor loss_T;
  Tensor dlogits_TV = {};
  Tensor logits_TV, stats_RT3, targets_T;
  VocabularyRows rows;
  double grad_scale;

  void operands(Contract& call) const {
    call.rank("logits", logits_TV, 2);
    call.rank("stats", stats_RT3, 3);
    call.require(stats_RT3.shape[0] > 0, "stats are of no part");
    const std::int64_t T = logits_TV.shape[0];
    call.write("loss", loss_T, TypeClass::master, {T});
    call.write_if(!dlogits_TV.empty(), "dlogits", dlogits_TV, TypeClass::operand, logits_TV.shape);
    call.read_in_place("logits", logits_TV, TypeClass::master, logits_TV.shape, dlogits_TV);
    call.read("stats", stats_RT3, TypeClass::master, {stats_RT3.shape[0], T, 3});
    call.read("targets", targets_T, TypeClass::i32, {T});
    rows.require(call, logits_TV.shape[1]);
  }
  double untouched_bytes() const {
    return dlogits_TV.empty() ? static_cast<double>(logits_TV.bytes()) : 0;
  }
};

}  // namespace dualpath::op
