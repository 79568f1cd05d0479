#include <algorithm>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"

namespace dualpath {
namespace {

// out (= or +=) scale·in
template <class S>
void mix_row(S* out, const S* in, float scale, bool overwrite, std::int64_t n) {
  if (overwrite) {
#pragma omp simd
    for (std::int64_t d = 0; d < n; ++d) out[d] = scale * in[d];
  } else {
#pragma omp simd
    for (std::int64_t d = 0; d < n; ++d) out[d] = out[d] + scale * in[d];
  }
}

template <class S>
struct RoutedRow {
  const S* dh_deep;
  const S* h;
  const float* w;
  float weight, dlogit;
};

// dh += weight·dh_deep + dlogit·w, dw += dlogit·h
template <class S>
void routed_row_backward(S* dh, float* dw, RoutedRow<S> row, std::int64_t n) {
#pragma omp simd
  for (std::int64_t d = 0; d < n; ++d) {
    dh[d] = dh[d] + row.weight * row.dh_deep[d] + row.dlogit * row.w[d];
    dw[d] += row.dlogit * row.h[d];
  }
}

float fixed_weight(LoopStep step) {
  if (step.combine == LoopCombine::final) return step.last() ? 1.0F : 0.0F;
  return static_cast<float>(1.0 / static_cast<double>(step.iterations));
}

}  // namespace

void CpuOps::compute(const op::MixtureStep& op) {
  const LoopStep step = op.step;
  const std::int64_t D = op.h_TD.shape[1];
  float* weight = op.weight_T.as<float>();
  const bool routed = step.combine == LoopCombine::mixture;
  const float fixed = routed ? 0.0F : fixed_weight(step);
  float* q = routed ? op.q_T.as<float>() : nullptr;
  float* remaining = routed ? op.remaining_T.as<float>() : nullptr;
  const float* w = routed ? op.router_w.as<float>() : nullptr;
  const double offset =
      routed ? w[D] * step.feature() + static_cast<double>(*op.router_b.as<float>()) : 0.0;
  with_type(op.h_TD, [&]<class S>() {
    S* h_deep = op.h_deep_TD.as<S>();
    const S* h = op.h_TD.as<S>();
    parallel_for(num_threads_, {op.h_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        weight[t] = fixed;
        if (routed) {
          q[t] = static_cast<float>(sigmoid(dot(D, h + t * D, w) + offset));
          const float before = step.first() ? 1.0F : remaining[t];
          weight[t] = step.last() ? before : before * q[t];
          remaining[t] = before * (1.0F - q[t]);
        }
        mix_row(h_deep + t * D, h + t * D, weight[t], step.first(), D);
      }
    });
  });
}

void CpuOps::compute(const op::RowDot& op) {
  const std::int64_t D = op.a_TD.shape[1];
  float* out = op.out_T.as<float>();
  with_type(op.a_TD, [&]<class S>() {
    const S* a = op.a_TD.as<S>();
    const S* b = op.b_TD.as<S>();
    parallel_for(num_threads_, {op.a_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) out[t] = dot(D, a + t * D, b + t * D);
    });
  });
}

// dlogit first takes π_k, upwards in k, then is completed downwards, where `later` is R_{k+1}.
void CpuOps::compute(const op::MixtureWeightsBackward& op) {
  const std::int64_t K = op.dlogit_KT.shape[0];
  const std::int64_t T = op.dlogit_KT.shape[1];
  const auto ponder = static_cast<float>(op.ponder_scale);
  float* dlogit = op.dlogit_KT.as<float>();
  const float* c = op.c_KT.as<float>();
  const float* q = op.q_KT.as<float>();
  parallel_for(num_threads_, {T, K}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      float remaining = 1;
      for (std::int64_t k = 0; k < K - 1; ++k) {
        dlogit[k * T + t] = remaining;
        remaining *= 1.0F - q[k * T + t];
      }
      const std::int64_t last = (K - 1) * T + t;
      dlogit[last] = 0;
      float later = c[last] + ponder * static_cast<float>(K);
      for (std::int64_t k = K - 2; k >= 0; --k) {
        const std::int64_t i = k * T + t;
        const float gain = c[i] + ponder * static_cast<float>(k + 1) - later;
        dlogit[i] *= gain * q[i] * (1.0F - q[i]);
        later += q[i] * gain;
      }
    }
  });
}

void CpuOps::compute(const op::MixtureStepBackward& op) {
  const std::int64_t D = op.h_TD.shape[1];
  const float* weight = op.weight_T.as<float>();
  if (op.step.combine != LoopCombine::mixture) {
    with_type(op.h_TD, [&]<class S>() {
      S* dh = op.dh_TD.as<S>();
      const S* dh_deep = op.dh_deep_TD.as<S>();
      parallel_for(num_threads_, {op.h_TD.rows(), D}, [=](Piece piece) {
        for (std::int64_t t = piece.begin; t < piece.end; ++t)
          mix_row(dh + t * D, dh_deep + t * D, weight[t], false, D);
      });
    });
    return;
  }
  const float* dlogit = op.dlogit_T.as<float>();
  const float* w = op.router_w.as<float>();
  const RowSums drouter(scratch_, num_threads_, D + 1);  // columns: of h, of the logit
  with_type(op.h_TD, [&]<class S>() {
    S* dh = op.dh_TD.as<S>();
    const S* dh_deep = op.dh_deep_TD.as<S>();
    const S* h = op.h_TD.as<S>();
    parallel_for(num_threads_, {op.h_TD.rows(), D}, [=](Piece piece) {
      RowAccumulator sums = drouter.accumulator(piece.index);
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        float* row = sums.next_row();
        routed_row_backward(dh + t * D, row, {dh_deep + t * D, h + t * D, w, weight[t], dlogit[t]},
                            D);
        row[D] += dlogit[t];
      }
      sums.flush();
    });
  });
  drouter.add_to(op.drouter_w.as<float>(), 0, D);
  float dlogits = 0;
  drouter.add_to(&dlogits, D, 1);
  op.drouter_w.as<float>()[D] += dlogits * static_cast<float>(op.step.feature());
  *op.drouter_b.as<float>() += dlogits;
}

void CpuOps::compute(const op::ExpectedIterations& op) {
  const std::int64_t K = op.weight_KT.shape[0];
  const std::int64_t T = op.weight_KT.shape[1];
  float* out = op.out_T.as<float>();
  const float* weight = op.weight_KT.as<float>();
  parallel_for(num_threads_, {T, K}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      float sum = 0;
      for (std::int64_t k = 0; k < K; ++k) sum += static_cast<float>(k + 1) * weight[k * T + t];
      out[t] = sum;
    }
  });
}

}  // namespace dualpath
