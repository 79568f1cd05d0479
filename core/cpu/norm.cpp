#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"

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

template <class S>
struct NormalizedRow {
  const S* x;
  const float* weight;
  float rstd;
};

// dx += rstd·(dout·weight - x̂·mean(dout·weight·x̂)), dweight += dout·x̂, with x̂ = x·rstd
template <class S, class O>
void normalize_row_backward(S* dx, float* dweight, const O* dout, NormalizedRow<S> row,
                            std::int64_t n) {
  const S* x = row.x;
  const float *weight = row.weight, rstd = row.rstd;
  const float mean = dot(n, dout, weight, x) * rstd / static_cast<float>(n);
#pragma omp simd
  for (std::int64_t d = 0; d < n; ++d) {
    const float normalized = x[d] * rstd;
    dx[d] = dx[d] + rstd * (dout[d] * weight[d] - normalized * mean);
    dweight[d] += dout[d] * normalized;
  }
}

}  // namespace

void CpuOps::compute(const op::RmsNorm& op) {
  const double epsilon = op.epsilon;
  const std::int64_t D = op.x_TD.shape[1];
  float* rstd = op.rstd_T.as<float>();
  const float* weight = op.weight_D.as<float>();
  with_types(op.x_TD, op.out_TD, [&]<class S, class O>() {
    O* out = op.out_TD.as<O>();
    const S* x = op.x_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        rstd[t] = rstd_of(dot(D, x + t * D, x + t * D), D, epsilon);
        normalize_row(out + t * D, x + t * D, weight, rstd[t], D);
      }
    });
  });
}

void CpuOps::compute(const op::RmsNormBackward& op) {
  const std::int64_t D = op.x_TD.shape[1];
  const float* weight = op.weight_D.as<float>();
  const float* rstd = op.rstd_T.as<float>();
  const RowSums dweight(scratch_, num_threads_, D);
  with_types(op.x_TD, op.dout_TD, [&]<class S, class O>() {
    S* dx = op.dx_TD.as<S>();
    const O* dout = op.dout_TD.as<O>();
    const S* x = op.x_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      RowAccumulator sums = dweight.accumulator(piece.index);
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        normalize_row_backward(dx + t * D, sums.next_row(), dout + t * D,
                               {x + t * D, weight, rstd[t]}, D);
      sums.flush();
    });
  });
  dweight.add_to(op.dweight_D.as<float>(), 0, D);
}

void CpuOps::compute(const op::Residual& op) {
  const float scale = residual_scale(op.gain);
  with_types(op.x_TD, op.y_TD, [&]<class S, class O>() {
    S* out = op.out_TD.as<S>();
    const S* x = op.x_TD.as<S>();
    const O* y = op.y_TD.as<O>();
    parallel_for(num_threads_, {op.out_TD.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) out[i] = x[i] + scale * y[i];
    });
  });
}

// The same bits as Residual and RmsNorm one after the other.
void CpuOps::compute(const op::ResidualRmsNorm& op) {
  const double epsilon = op.epsilon;
  const float scale = residual_scale(op.gain);
  const std::int64_t D = op.out_TD.shape[1];
  float* rstd = op.rstd_T.as<float>();
  const float* weight = op.weight_D.as<float>();
  with_types(op.out_TD, op.normed_TD, [&]<class S, class O>() {
    S* out = op.out_TD.as<S>();
    O* normed = op.normed_TD.as<O>();
    const S* x = op.x_TD.as<S>();
    const O* y = op.y_TD.as<O>();
    parallel_for(num_threads_, {op.out_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        S* row = out + t * D;
        residual_row(row, x + t * D, y + t * D, scale, D);
        rstd[t] = rstd_of(dot(D, row, row), D, epsilon);
        normalize_row(normed + t * D, row, weight, rstd[t], D);
      }
    });
  });
}

void CpuOps::compute(const op::ResidualBackward& op) {
  const float scale = residual_scale(op.gain);
  with_types(op.dout_TD, op.dy_TD, [&]<class S, class O>() {
    O* dy = op.dy_TD.as<O>();
    const S* dout = op.dout_TD.as<S>();
    parallel_for(num_threads_, {op.dy_TD.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) dy[i] = scale * dout[i];
    });
  });
}

void CpuOps::compute(const op::ResidualGainBackward& op) {
  double product = 0;
  with_type(op.a, [&]<class O>() {
    const O* left = op.da.as<O>();
    const O* right = op.a.as<O>();
    product = sum_over(scratch_, num_threads_, {op.a.numel()}, [=](Piece piece) {
      return dot_f64(left + piece.begin, right + piece.begin, piece.size());
    });
  });
  const double raw = *op.gain.as<float>();
  *op.dgain.as<float>() += static_cast<float>(product * sigmoid(raw) / softplus(raw));
}

}  // namespace dualpath
