#include <algorithm>
#include <cmath>

#include "core/cpu/cpu_ops.h"
#include "core/cpu/element_types.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/vector_math.h"
#include "core/ops_checks.h"

namespace dualpath {
namespace {

float max_of(const float* x, std::int64_t n) {
  float max = -INFINITY;
#pragma omp simd reduction(max : max)
  for (std::int64_t i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Σ exp(x - max), a part of a row at a time in float; with `store` x becomes exp(x - max).
template <bool store>
double sum_of_exp(float* x, float max, std::int64_t n) {
  constexpr std::int64_t part = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += part) {
    const std::int64_t end = std::min(begin + part, n);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) {
      const float e = simd_exp(x[i] - max);
      if constexpr (store) x[i] = e;
      sum += e;
    }
    total += static_cast<double>(sum);
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
#pragma omp simd
  for (std::int64_t v = 0; v < V; ++v) dlogits[v] = logits[v] * scale;
  dlogits[target] = of_target;
  return static_cast<float>(std::log(sum) + margin);
}

}  // namespace

void CpuOps::cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                           double grad_scale) {
  check_cross_entropy(loss_T, dlogits_TV, logits_TV, targets_T);
  const std::int64_t V = logits_TV.shape[1];
  float* loss = loss_T.as<float>();
  float* logits = logits_TV.as<float>();
  const std::int32_t* targets = targets_T.as<std::int32_t>();
  for (std::int64_t t = 0; t < targets_T.numel(); ++t)
    CHECK(-1 <= targets[t] && targets[t] < V, "target {} of token {} is outside the {} logits",
          targets[t], t, V);
  if (dlogits_TV.empty()) {
    parallel_for(num_threads_, {logits_TV.rows(), V}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        loss[t] = targets[t] < 0 ? 0 : loss_row(logits + t * V, targets[t], V);
    });
    return;
  }
  with_type(dlogits_TV, [&]<class O>() {
    O* dlogits = dlogits_TV.as<O>();
    const auto scale = static_cast<float>(grad_scale);
    parallel_for(num_threads_, {logits_TV.rows(), V}, [=](Piece piece) {
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

}  // namespace dualpath
