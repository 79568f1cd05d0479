#include <algorithm>
#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/vector_math.h"

namespace dualpath {
namespace {

float max_of(const float* x, std::int64_t n) {
  float max = -INFINITY;
#pragma omp simd reduction(max : max)
  for (std::int64_t i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Σ exp(x - max), a part of a row at a time in float; with `keep` x becomes exp(x - max).
template <bool keep>
double sum_of_exp(float* x, float max, std::int64_t n) {
  constexpr std::int64_t part = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += part) {
    const std::int64_t end = std::min(begin + part, n);
    Vector sum{};
    for_each_vector(end - begin, [&](std::int64_t i, auto lanes) {
      const Vector e = simd_exp(load(x + begin + i, lanes, -INFINITY) - max);
      if constexpr (keep) store(x + begin + i, e, lanes);
      sum += e;
    });
    total += static_cast<double>(lane_sum(sum));
  }
  return total;
}

// The loss of one row of logits.
float loss_row(float* logits, std::int32_t target, std::int64_t V) {
  const float max = max_of(logits, V);
  const double margin = static_cast<double>(max) - static_cast<double>(logits[target]);
  return static_cast<float>(std::log(sum_of_exp<false>(logits, max, V)) + margin);
}

// The same, and its gradient; dlogits may be logits, which else ends as exponentials.
template <class O>
float loss_row_gradient(O* dlogits, float* logits, std::int32_t target, float grad_scale,
                        std::int64_t V) {
  const float max = max_of(logits, V);
  const double margin = static_cast<double>(max) - static_cast<double>(logits[target]);
  const double sum = sum_of_exp<true>(logits, max, V);
  const auto scale = static_cast<float>(grad_scale / sum);
  const float of_target = logits[target] * scale - grad_scale;
  scale_row(dlogits, logits, scale, V);
  dlogits[target] = of_target;
  return static_cast<float>(std::log(sum) + margin);
}

// One token's statistics of all parts of the vocabulary together.
struct TokenStatistics {
  TokenStatistics(const float* stats_R3, std::int64_t parts, std::int64_t stride) {
    for (std::int64_t r = 0; r < parts; ++r) max = std::max(max, stats_R3[r * stride]);
    for (std::int64_t r = 0; r < parts; ++r) {
      const float* part = stats_R3 + r * stride;
      sum += static_cast<double>(part[1]) * std::exp(static_cast<double>(part[0] - max));
      target_logit += part[2];
    }
  }
  float loss() const {
    const double margin = static_cast<double>(max) - static_cast<double>(target_logit);
    return static_cast<float>(std::log(sum) + margin);
  }

  float max = -INFINITY;
  double sum = 0;
  float target_logit = 0;
};

// exp(logit - max)/sum over all parts of the vocabulary, less 1 for the target's row if it is in
// this one (else -1); dlogits may be logits.
template <class O>
void part_gradient(O* dlogits, const float* logits, const TokenStatistics& all, std::int64_t row,
                   float grad_scale, std::int64_t V) {
  const float max = all.max;
  const auto scale = static_cast<float>(grad_scale / all.sum);
  const float of_target = row < 0 ? 0 : simd_exp(logits[row] - max) * scale - grad_scale;
  for_each_vector(V, [=](std::int64_t v, auto lanes) {
    store(dlogits + v, simd_exp(load(logits + v, lanes) - max) * scale, lanes);
  });
  if (row >= 0) dlogits[row] = of_target;
}

void check_targets(const std::int32_t* targets, std::int64_t count, std::int64_t vocabulary) {
  for (std::int64_t t = 0; t < count; ++t)
    CHECK(-1 <= targets[t] && targets[t] < vocabulary,
          "target {} of token {} is outside the {} logits", targets[t], t, vocabulary);
}

}  // namespace

void CpuOps::compute(const op::CrossEntropy& op) {
  const std::int64_t V = op.logits_TV.shape[1];
  float* loss = op.loss_T.as<float>();
  float* logits = op.logits_TV.as<float>();
  const std::int32_t* targets = op.targets_T.as<std::int32_t>();
  check_targets(targets, op.targets_T.numel(), V);
  if (op.dlogits_TV.empty()) {
    parallel_for(num_threads_, {op.logits_TV.rows(), V}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        loss[t] = targets[t] < 0 ? 0 : loss_row(logits + t * V, targets[t], V);
    });
    return;
  }
  with_type(op.dlogits_TV, [&]<class O>() {
    O* dlogits = op.dlogits_TV.as<O>();
    const auto scale = static_cast<float>(op.grad_scale);
    parallel_for(num_threads_, {op.logits_TV.rows(), V}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        O* row = dlogits + t * V;
        if (targets[t] < 0) {
          loss[t] = 0;
          std::fill_n(row, V, O(0.0F));
        } else {
          loss[t] = loss_row_gradient(row, logits + t * V, targets[t], scale, V);
        }
      }
    });
  });
}

void CpuOps::compute(const op::VocabularyStatistics& op) {
  const VocabularyRows rows = op.rows;
  const std::int64_t V = op.logits_TV.shape[1];
  float* stats = op.stats_T3.as<float>();
  float* logits = op.logits_TV.as<float>();
  const std::int32_t* targets = op.targets_T.as<std::int32_t>();
  check_targets(targets, op.targets_T.numel(), rows.total);
  parallel_for(num_threads_, {op.logits_TV.rows(), V}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      float* of_token = stats + t * 3;
      if (targets[t] < 0) {
        std::fill_n(of_token, 3, 0.0F);
        continue;
      }
      float* row = logits + t * V;
      const float max = max_of(row, V);
      const std::int64_t target = rows.row_of(targets[t], V);
      of_token[0] = max;
      of_token[1] = static_cast<float>(sum_of_exp<false>(row, max, V));
      of_token[2] = target < 0 ? 0 : row[target];
    }
  });
}

void CpuOps::compute(const op::ShardedCrossEntropy& op) {
  const VocabularyRows rows = op.rows;
  const std::int64_t T = op.logits_TV.shape[0], V = op.logits_TV.shape[1], R = op.stats_RT3.rows();
  float* loss = op.loss_T.as<float>();
  const float* logits = op.logits_TV.as<float>();
  const float* stats = op.stats_RT3.as<float>();
  const std::int32_t* targets = op.targets_T.as<std::int32_t>();
  check_targets(targets, T, rows.total);
  if (op.dlogits_TV.empty()) {
    for (std::int64_t t = 0; t < T; ++t)
      loss[t] = targets[t] < 0 ? 0 : TokenStatistics(stats + t * 3, R, T * 3).loss();
    return;
  }
  with_type(op.dlogits_TV, [&]<class O>() {
    O* dlogits = op.dlogits_TV.as<O>();
    const auto scale = static_cast<float>(op.grad_scale);
    parallel_for(num_threads_, {T, V}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        O* row = dlogits + t * V;
        if (targets[t] < 0) {
          loss[t] = 0;
          std::fill_n(row, V, O(0.0F));
          continue;
        }
        const TokenStatistics all(stats + t * 3, R, T * 3);
        loss[t] = all.loss();
        part_gradient(row, logits + t * V, all, rows.row_of(targets[t], V), scale, V);
      }
    });
  });
}

}  // namespace dualpath
