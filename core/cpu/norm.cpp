#include <cmath>

#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"
#include "core/element_types.h"
#include "core/ops_checks.h"

namespace dualpath {
namespace {

float residual_scale(Tensor gain) {
  return gain.empty() ? 1.0F : static_cast<float>(softplus(*gain.as<float>()));
}

float rstd_of(float sum_of_squares, std::int64_t n, double epsilon) {
  const double mean = static_cast<double>(sum_of_squares) / static_cast<double>(n);
  return static_cast<float>(1 / std::sqrt(mean + epsilon));
}

// out = x + scale·y
template <class S, class O>
void residual_row(S* out, const S* x, const O* y, float scale, std::int64_t n) {
#pragma omp simd
  for (std::int64_t d = 0; d < n; ++d) out[d] = x[d] + scale * y[d];
}

// out = x·rstd·weight
template <class S, class O>
void normalize_row(O* out, const S* x, const float* weight, float rstd, std::int64_t n) {
  for_each_vector(n, [=](std::int64_t d, auto lanes) {
    store(out + d, load(x + d, lanes) * rstd * load(weight + d, lanes), lanes);
  });
}

// dx += rstd·(dout·weight - x̂·mean(dout·weight·x̂)), dweight += dout·x̂, with x̂ = x·rstd
template <class S, class O>
void normalize_row_backward(S* dx, float* dweight, const O* dout, const S* x, const float* weight,
                            float rstd, std::int64_t n) {
  const float mean = dot(n, dout, weight, x) * rstd / static_cast<float>(n);
#pragma omp simd
  for (std::int64_t d = 0; d < n; ++d) {
    const float normalized = x[d] * rstd;
    dx[d] = dx[d] + rstd * (dout[d] * weight[d] - normalized * mean);
    dweight[d] += dout[d] * normalized;
  }
}

}  // namespace

void CpuOps::rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D, double epsilon) {
  check_rms_norm(out_TD, rstd_T, x_TD, weight_D);
  const std::int64_t D = x_TD.shape[1];
  float* rstd = rstd_T.as<float>();
  const float* weight = weight_D.as<float>();
  with_types(x_TD, out_TD, [&]<class S, class O>() {
    O* out = out_TD.as<O>();
    const S* x = x_TD.as<S>();
    parallel_for(num_threads_, {x_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        rstd[t] = rstd_of(dot(D, x + t * D, x + t * D), D, epsilon);
        normalize_row(out + t * D, x + t * D, weight, rstd[t], D);
      }
    });
  });
}

void CpuOps::rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                               Tensor weight_D, Tensor rstd_T) {
  check_rms_norm_backward(dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T);
  const std::int64_t D = x_TD.shape[1];
  const float* weight = weight_D.as<float>();
  const float* rstd = rstd_T.as<float>();
  const RowSums dweight(scratch_, num_threads_, D);
  with_types(x_TD, dout_TD, [&]<class S, class O>() {
    S* dx = dx_TD.as<S>();
    const O* dout = dout_TD.as<O>();
    const S* x = x_TD.as<S>();
    parallel_for(num_threads_, {x_TD.rows(), D}, [=](Piece piece) {
      RowAccumulator sums = dweight.accumulator(piece.index);
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        normalize_row_backward(dx + t * D, sums.next_row(), dout + t * D, x + t * D, weight,
                               rstd[t], D);
      sums.flush();
    });
  });
  dweight.add_to(dweight_D.as<float>(), 0, D);
}

void CpuOps::residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) {
  check_residual(out_TD, x_TD, y_TD, gain);
  const float scale = residual_scale(gain);
  with_types(x_TD, y_TD, [&]<class S, class O>() {
    S* out = out_TD.as<S>();
    const S* x = x_TD.as<S>();
    const O* y = y_TD.as<O>();
    parallel_for(num_threads_, {out_TD.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) out[i] = x[i] + scale * y[i];
    });
  });
}

// The same bits as residual() and rms_norm() one after the other.
void CpuOps::residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD,
                               Tensor y_TD, Tensor gain, Tensor weight_D, double epsilon) {
  check_residual_rms_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D);
  const float scale = residual_scale(gain);
  const std::int64_t D = out_TD.shape[1];
  float* rstd = rstd_T.as<float>();
  const float* weight = weight_D.as<float>();
  with_types(out_TD, normed_TD, [&]<class S, class O>() {
    S* out = out_TD.as<S>();
    O* normed = normed_TD.as<O>();
    const S* x = x_TD.as<S>();
    const O* y = y_TD.as<O>();
    parallel_for(num_threads_, {out_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        S* row = out + t * D;
        residual_row(row, x + t * D, y + t * D, scale, D);
        rstd[t] = rstd_of(dot(D, row, row), D, epsilon);
        normalize_row(normed + t * D, row, weight, rstd[t], D);
      }
    });
  });
}

void CpuOps::residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) {
  check_residual_backward(dy_TD, dout_TD, gain);
  const float scale = residual_scale(gain);
  with_types(dout_TD, dy_TD, [&]<class S, class O>() {
    O* dy = dy_TD.as<O>();
    const S* dout = dout_TD.as<S>();
    parallel_for(num_threads_, {dy_TD.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) dy[i] = scale * dout[i];
    });
  });
}

void CpuOps::residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) {
  check_residual_gain_backward(dgain, da, a, gain);
  double product = 0;
  with_type(a, [&]<class O>() {
    const O* left = da.as<O>();
    const O* right = a.as<O>();
    product = sum_over(scratch_, num_threads_, {a.numel()}, [=](Piece piece) {
      return dot_f64(left + piece.begin, right + piece.begin, piece.size());
    });
  });
  const double raw = *gain.as<float>();
  *dgain.as<float>() += static_cast<float>(product * sigmoid(raw) / softplus(raw));
}

}  // namespace dualpath
