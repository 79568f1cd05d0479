#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_sums.h"

namespace dualpath {
namespace {

// p = g_d/(g_d+g_w) of one token and 1 - p, ½ each where both gates vanish.
struct Share {
  double deep, wide, total;
  Share(float gate_deep, float gate_wide) : deep(0.5), wide(0.5), total(gate_deep) {
    total += gate_wide;
    if (total > 0) {
      deep = gate_deep / total;
      wide = gate_wide / total;
    }
  }
  double log_odds() const { return std::log(deep) - std::log(wide); }
  // -p·ln p - (1-p)·ln(1-p), with 0·ln 0 = 0
  double entropy() const { return -x_log_x(deep) - x_log_x(wide); }
  static double x_log_x(double x) { return x > 0 ? x * std::log(x) : 0; }
};

struct Products {
  float deep, wide, cross, input;  // ‖Δ_d‖², ‖Δ_w‖², <Δ_d, Δ_w>, ‖x‖²
};

template <class S>
Products row_products(const S* x, const S* h_deep, const S* h_wide, std::int64_t D) {
  float deep = 0, wide = 0, cross = 0, input = 0;
#pragma omp simd reduction(+ : deep, wide, cross, input)
  for (std::int64_t d = 0; d < D; ++d) {
    const float input_d = x[d];
    const float a = h_deep[d] - input_d;
    const float b = h_wide[d] - input_d;
    deep += a * a;
    wide += b * b;
    cross += a * b;
    input += input_d * input_d;
  }
  return {deep, wide, cross, input};
}

void readout_row(float* out, float gate_deep, float gate_wide, const Products& products) {
  const double deep = std::sqrt(static_cast<double>(products.deep));
  const double wide = std::sqrt(static_cast<double>(products.wide));
  const double moved = gate_deep * deep + gate_wide * wide;
  const double share = moved > 0 ? gate_deep * deep / moved : 0.5;
  const double cosine = deep > 0 && wide > 0 ? products.cross / (deep * wide) : 0;
  out[op::PathReadout::gate_deep] = gate_deep;
  out[op::PathReadout::gate_wide] = gate_wide;
  out[op::PathReadout::gate_entropy] = static_cast<float>(Share(gate_deep, gate_wide).entropy());
  out[op::PathReadout::deep_share] = static_cast<float>(share);
  out[op::PathReadout::cosine] = static_cast<float>(cosine);
  out[op::PathReadout::input_norm] = std::sqrt(products.input);
}

}  // namespace

// ∂p/∂g_d = (1-p)/(g_d+g_w), ∂p/∂g_w = -p/(g_d+g_w), ∂(-H)/∂p = ln p - ln(1-p).
void CpuOps::compute(const op::GateRegularizer& op) {
  const std::int64_t positions = op.positions;
  const double entropy_scale = op.entropy_scale;
  const double balance_scale = op.balance_scale;
  const std::int64_t sequences = op.gates_T2.rows() / positions;
  float* dgates = op.dgates_T2.as<float>();
  const float* gates = op.gates_T2.as<float>();
  const RowSums losses(scratch_, num_threads_, 2);
  parallel_for(num_threads_, {sequences, positions}, [=](Piece piece) {
    double* sums = losses.totals(piece.index);
    for (std::int64_t s = piece.begin; s < piece.end; ++s) {
      const float* in = gates + 2 * s * positions;
      float* out = dgates + 2 * s * positions;
      double mean = 0;
      for (std::int64_t i = 0; i < positions; ++i) {
        const Share share(in[2 * i], in[2 * i + 1]);
        mean += share.deep;
        sums[0] -= share.entropy();
      }
      mean /= static_cast<double>(positions);
      sums[1] += (mean - 0.5) * (mean - 0.5);
      const double dbalance = balance_scale * 2 * (mean - 0.5) / static_cast<double>(positions);
      for (std::int64_t i = 0; i < positions; ++i) {
        const Share share(in[2 * i], in[2 * i + 1]);
        const bool closed = in[2 * i] == 0 || in[2 * i + 1] == 0;
        const double dshare =
            closed ? 0 : (entropy_scale * share.log_odds() + dbalance) / share.total;
        out[2 * i] = static_cast<float>(dshare * share.wide);
        out[2 * i + 1] = static_cast<float>(-dshare * share.deep);
      }
    }
  });
  losses.add_to(op.losses_2.as<double>(), 0, 2);
}

void CpuOps::compute(const op::PathReadout& op) {
  const std::int64_t D = op.x_TD.shape[1];
  float* readout = op.readout_TC.as<float>();
  const float* gates = op.gates_T2.as<float>();
  with_type(op.x_TD, [&]<class S>() {
    const S* x = op.x_TD.as<S>();
    const S* h_deep = op.h_deep_TD.as<S>();
    const S* h_wide = op.h_wide_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        readout_row(readout + t * op::PathReadout::num_columns, gates[2 * t], gates[2 * t + 1],
                    row_products(x + t * D, h_deep + t * D, h_wide + t * D, D));
    });
  });
}

void CpuOps::compute(const op::RowDistance& op) {
  const std::int64_t D = op.a_TD.shape[1];
  float* out = op.out_T.as<float>();
  const float scale = op.b_TD.empty() ? 0.0F : 1.0F;
  with_type(op.a_TD, [&]<class S>() {
    const S* a = op.a_TD.as<S>();
    const S* b = op.b_TD.empty() ? a : op.b_TD.as<S>();
    parallel_for(num_threads_, {op.a_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t d = t * D; d < (t + 1) * D; ++d) {
          const float difference = a[d] - scale * b[d];
          sum += difference * difference;
        }
        out[t] = std::sqrt(sum);
      }
    });
  });
}

void CpuOps::compute(const op::ColumnSums& op) {
  const std::int64_t C = op.out_C.numel();
  const float* in = op.in_TC.as<float>();
  const RowSums columns(scratch_, num_threads_, C);
  parallel_for(num_threads_, {op.in_TC.rows(), C}, [=](Piece piece) {
    double* sums = columns.totals(piece.index);
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) sums[c] += static_cast<double>(in[t * C + c]);
    }
  });
  columns.add_to(op.out_C.as<double>(), 0, C);
}

}  // namespace dualpath
