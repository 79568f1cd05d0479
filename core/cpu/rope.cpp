#include <algorithm>
#include <cmath>

#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"
#include "core/ops_checks.h"

namespace dualpath {
namespace {

// One head of one token: E = 2·R elements, the angles' cosines and sines of R.
struct Head {
  std::int64_t R;
  const float* cos;
  const float* sin;
};

// out = rotation of in·scale; out may be in
void rotate(float* out, const float* in, float scale, Head head) {
  const std::int64_t R = head.R;
#pragma omp simd
  for (std::int64_t i = 0; i < R; ++i) {
    const float a = in[i] * scale;
    const float b = in[i + R] * scale;
    out[i] = a * head.cos[i] - b * head.sin[i];
    out[i + R] = b * head.cos[i] + a * head.sin[i];
  }
}

// The transposed rotation, in place.
void rotate_back(float* x, Head head) {
  const std::int64_t R = head.R;
#pragma omp simd
  for (std::int64_t i = 0; i < R; ++i) {
    const float a = x[i];
    const float b = x[i + R];
    x[i] = a * head.cos[i] + b * head.sin[i];
    x[i + R] = b * head.cos[i] - a * head.sin[i];
  }
}

void multiply(float* x, const float* weight, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] *= weight[i];
}

float head_rstd(const float* x, std::int64_t E, double epsilon) {
  const double mean = static_cast<double>(dot(E, x, x)) / static_cast<double>(E);
  return static_cast<float>(1 / std::sqrt(mean + epsilon));
}

// A rotation keeps the length: rstd is the same before and after it.
void forward_head(float* out, const float* in, const float* weight, float rstd, Head head,
                  QkNorm norm) {
  const std::int64_t E = 2 * head.R;
  if (norm == QkNorm::before_rope) {
#pragma omp simd
    for (std::int64_t i = 0; i < E; ++i) out[i] = in[i] * rstd * weight[i];
    rotate(out, out, 1, head);
  } else {
    rotate(out, in, rstd, head);
    if (norm == QkNorm::after_rope) multiply(out, weight, E);
  }
}

// With x̂ = x·scale and out = x̂·weight: dx = rstd·(dout·weight - x̂·mean(dout·weight·x̂)),
// dweight += dout·x̂. dx may be x or dout.
void norm_backward(float* dx, float* dweight, const float* dout, const float* x, float scale,
                   const float* weight, float rstd, std::int64_t E) {
  const float mean = dot(E, dout, weight, x) * scale / static_cast<float>(E);
#pragma omp simd
  for (std::int64_t i = 0; i < E; ++i) {
    const float gradient = dout[i];
    const float normalized = x[i] * scale;
    dweight[i] += gradient * normalized;
    dx[i] = rstd * (gradient * weight[i] - normalized * mean);
  }
}

void backward_head(float* din, float* dweight, const float* dout, const float* in,
                   const float* weight, float rstd, Head head, QkNorm norm) {
  const std::int64_t E = 2 * head.R;
  if (norm == QkNorm::after_rope) {
    rotate(din, in, rstd, head);
    norm_backward(din, dweight, dout, din, 1, weight, rstd, E);
    rotate_back(din, head);
    return;
  }
  std::copy_n(dout, E, din);
  rotate_back(din, head);
  if (norm == QkNorm::before_rope) norm_backward(din, dweight, din, in, rstd, weight, rstd, E);
}

}  // namespace

void CpuOps::qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                     Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                     QkNorm norm, double epsilon) {
  check_qk_rope(q_THE, k_TGE, rstd_TN, qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
  const bool normed = norm != QkNorm::none;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size, R = E / 2;
  float* q = q_THE.as<float>();
  float* k = k_TGE.as<float>();
  float* rstd = normed ? rstd_TN.as<float>() : nullptr;
  const float* qkv = qkv_TC.as<float>();
  const float* q_weight = normed ? q_weight_E.as<float>() : nullptr;
  const float* k_weight = normed ? k_weight_E.as<float>() : nullptr;
  const float* cos = cos_PR.as<float>();
  const float* sin = sin_PR.as<float>();
  parallel_for(num_threads_, {shape.tokens(), (H + G) * E}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      const std::int64_t position = shape.first_position + t % shape.positions;
      const Head head{R, cos + position * R, sin + position * R};
      for (std::int64_t n = 0; n < H + G; ++n) {
        const float* in = qkv + (t * (H + 2 * G) + n) * E;
        const bool query = n < H;
        float* out = query ? q + (t * H + n) * E : k + (t * G + n - H) * E;
        const float scale = normed ? head_rstd(in, E, epsilon) : 1.0F;
        if (normed) rstd[t * (H + G) + n] = scale;
        forward_head(out, in, query ? q_weight : k_weight, scale, head, norm);
      }
    }
  });
}

void CpuOps::qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                              Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                              Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                              QkNorm norm) {
  check_qk_rope_backward(dqkv_TC, dq_weight_E, dk_weight_E, dq_THE, dk_TGE, rstd_TN, qkv_TC,
                         q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
  const bool normed = norm != QkNorm::none;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size, R = E / 2;
  float* dqkv = dqkv_TC.as<float>();
  const float* dq = dq_THE.as<float>();
  const float* dk = dk_TGE.as<float>();
  const float* rstd = normed ? rstd_TN.as<float>() : nullptr;
  const float* qkv = qkv_TC.as<float>();
  const float* q_weight = normed ? q_weight_E.as<float>() : nullptr;
  const float* k_weight = normed ? k_weight_E.as<float>() : nullptr;
  const float* cos = cos_PR.as<float>();
  const float* sin = sin_PR.as<float>();
  const RowSums dweights(scratch_, num_threads_, 2 * E);  // columns: dq_weight, dk_weight
  parallel_for(num_threads_, {shape.tokens(), (H + G) * E}, [=](Piece piece) {
    RowAccumulator sums = dweights.accumulator(piece.index);
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      const std::int64_t position = shape.first_position + t % shape.positions;
      const Head head{R, cos + position * R, sin + position * R};
      for (std::int64_t n = 0; n < H + G; ++n) {
        const bool query = n < H;
        const std::int64_t column = (t * (H + 2 * G) + n) * E;
        const float* dout = query ? dq + (t * H + n) * E : dk + (t * G + n - H) * E;
        float* row = sums.next_row();
        backward_head(dqkv + column, query ? row : row + E, dout, qkv + column,
                      query ? q_weight : k_weight, normed ? rstd[t * (H + G) + n] : 1.0F, head,
                      norm);
      }
    }
    sums.flush();
  });
  if (!normed) return;
  dweights.add_to(dq_weight_E.as<float>(), 0, E);
  dweights.add_to(dk_weight_E.as<float>(), E, E);
}

}  // namespace dualpath
