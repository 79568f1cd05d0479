// Cross-entropy, of a whole vocabulary or of some of its rows. A block a token; kernels cannot
// throw, so a target outside the vocabulary gives a loss of NaN. Mathematics: core/ops/loss.h.
#pragma once

#include "core/cuda/kernels/launch.h"

namespace dualpath::gpu {

// m = max logits, Σ exp(logits - m), in one reading. The same in all threads.
struct RowExponentials {
  float largest;
  float sum;
};
template <class Thread>
DUALPATH_HOST_DEVICE RowExponentials row_exponentials(Thread& t, const float* logits,
                                                      std::int64_t width) {
  float largest = -INFINITY, sum = 0;
  for_each_pack<1>(t, width, [&](std::int64_t v) {
    const float x = logits[v];
    if (x > largest) {
      sum = sum * expf(largest - x) + 1;
      largest = x;
    } else {
      sum += expf(x - largest);
    }
  });
  const float all = block_reduce<Max>(t, largest);
  sum = block_sum(t, largest == -INFINITY ? 0.0F : sum * expf(largest - all));
  return {all, sum};
}

// dlogits = (exp(logits - largest)/sum - onehot)·scale; 0 for a target of -1. May be in place.
template <class O>
struct LogitsGradient {
  O* dlogits;
  const float* logits;
  std::int64_t width;
  RowExponentials row;
  std::int64_t target;
  bool ignored;
  float scale;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack<1>(t, width, [&](std::int64_t v) {
      const float softmax = expf(logits[v] - row.largest) / row.sum;
      dlogits[v] = static_cast<O>(ignored ? 0.0F : (softmax - (v == target ? 1.0F : 0.0F)) * scale);
    });
  }
};

template <class O>
struct CrossEntropy {
  float* loss_T;
  O* dlogits_TV;  // or null
  const float* logits_TV;
  const std::int32_t* targets_T;
  std::int64_t vocabulary;
  float scale;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), target = targets_T[token];
    const float* logits = logits_TV + token * vocabulary;
    const bool ignored = target == -1;
    RowExponentials row{0, 1};
    float target_logit = 0;
    if (!ignored) {
      row = row_exponentials(t, logits, vocabulary);
      target_logit = 0 <= target && target < vocabulary ? logits[target] : NAN;
    }
    t.barrier();  // all have read the target's logit
    if (t.index() == 0) loss_T[token] = ignored ? 0.0F : row.largest + logf(row.sum) - target_logit;
    if (dlogits_TV == nullptr) return;
    LogitsGradient<O>{
        dlogits_TV + token * vocabulary, logits, vocabulary, row, target, ignored, scale}(t);
  }
};

struct VocabularyStatistics {
  float* stats_T3;
  const float* logits_TV;
  const std::int32_t* targets_T;
  std::int64_t width;
  VocabularyRows rows;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), target = targets_T[token];
    const float* logits = logits_TV + token * width;
    float* stats = stats_T3 + token * 3;
    RowExponentials row{0, 0};
    float target_logit = 0;
    if (target != -1) {
      row = row_exponentials(t, logits, width);
      const std::int64_t v = target - rows.first;
      if (0 <= v && v < width) target_logit = logits[v];
      if (target < 0 || target >= rows.total) target_logit = NAN;
    }
    if (t.index() != 0) return;
    stats[0] = row.largest;
    stats[1] = row.sum;
    stats[2] = target_logit;
  }
};

template <class O>
struct ShardedCrossEntropy {
  float* loss_T;
  O* dlogits_TV;  // or null
  const float* logits_TV;
  const float* stats_RT3;
  const std::int32_t* targets_T;
  std::int64_t tokens, width, parts;
  VocabularyRows rows;
  float scale;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), target = targets_T[token];
    const bool ignored = target == -1;
    const auto stats = [&](std::int64_t part) { return stats_RT3 + (part * tokens + token) * 3; };
    RowExponentials row{stats(0)[0], 0};
    float target_logit = 0;
    for (std::int64_t r = 1; r < parts; ++r) row.largest = fmaxf(row.largest, stats(r)[0]);
    for (std::int64_t r = 0; r < parts; ++r) {
      row.sum += stats(r)[1] * expf(stats(r)[0] - row.largest);
      target_logit += stats(r)[2];
    }
    if (t.index() == 0) loss_T[token] = ignored ? 0.0F : row.largest + logf(row.sum) - target_logit;
    if (dlogits_TV == nullptr) return;
    if (ignored) row = {0, 1};
    LogitsGradient<O>{dlogits_TV + token * width,
                      logits_TV + token * width,
                      width,
                      row,
                      target - rows.first,
                      ignored,
                      scale}(t);
  }
};

// ---- launches

void launch(auto& on, const op::CrossEntropy& op) {
  with_type(op.dlogits_TV.empty() ? op.logits_TV : op.dlogits_TV, [&]<class O>() {
    launch_blocks(on, op.logits_TV.rows(), block_threads, 0,
                  CrossEntropy<O>{.loss_T = op.loss_T.as<float>(),
                                  .dlogits_TV = optional<O>(op.dlogits_TV),
                                  .logits_TV = op.logits_TV.as<float>(),
                                  .targets_T = op.targets_T.as<std::int32_t>(),
                                  .vocabulary = op.logits_TV.cols(),
                                  .scale = static_cast<float>(op.grad_scale)});
  });
}

void launch(auto& on, const op::VocabularyStatistics& op) {
  launch_blocks(on, op.logits_TV.rows(), block_threads, 0,
                VocabularyStatistics{.stats_T3 = op.stats_T3.as<float>(),
                                     .logits_TV = op.logits_TV.as<float>(),
                                     .targets_T = op.targets_T.as<std::int32_t>(),
                                     .width = op.logits_TV.cols(),
                                     .rows = op.rows});
}

void launch(auto& on, const op::ShardedCrossEntropy& op) {
  with_type(op.dlogits_TV.empty() ? op.logits_TV : op.dlogits_TV, [&]<class O>() {
    launch_blocks(on, op.logits_TV.rows(), block_threads, 0,
                  ShardedCrossEntropy<O>{.loss_T = op.loss_T.as<float>(),
                                         .dlogits_TV = optional<O>(op.dlogits_TV),
                                         .logits_TV = op.logits_TV.as<float>(),
                                         .stats_RT3 = op.stats_RT3.as<float>(),
                                         .targets_T = op.targets_T.as<std::int32_t>(),
                                         .tokens = op.logits_TV.rows(),
                                         .width = op.logits_TV.cols(),
                                         .parts = op.stats_RT3.shape[0],
                                         .rows = op.rows,
                                         .scale = static_cast<float>(op.grad_scale)});
  });
}

}  // namespace dualpath::gpu
