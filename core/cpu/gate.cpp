#include <array>
#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"

namespace dualpath {
namespace {

struct Pair {
  float deep, wide;
};

template <class S>
Pair gates_of(GateMode mode, const S* x, const float* weight, const float* bias, std::int64_t D) {
  const auto logit = [=](std::int64_t n) {
    return static_cast<double>(dot(D, x, weight + n * D)) + static_cast<double>(bias[n]);
  };
  double deep = 0.5;
  double wide = 0.5;
  switch (mode) {
    case GateMode::two_sigmoid:
      deep = sigmoid(logit(0));
      wide = sigmoid(logit(1));
      break;
    case GateMode::convex:
    case GateMode::softmax: {
      const double difference = mode == GateMode::convex ? logit(0) : logit(0) - logit(1);
      deep = sigmoid(difference);
      wide = sigmoid(-difference);
      break;
    }
    case GateMode::fixed:
      break;
  }
  return {static_cast<float>(deep), static_cast<float>(wide)};
}

// ∂L/∂logits from ∂L/∂gates; unused logits are 0.
std::array<float, 2> logit_gradients(GateMode mode, Pair gates, Pair dgates) {
  if (mode == GateMode::two_sigmoid)
    return {dgates.deep * gates.deep * (1.0F - gates.deep),
            dgates.wide * gates.wide * (1.0F - gates.wide)};
  const float difference = (dgates.deep - dgates.wide) * gates.deep * gates.wide;
  return {difference, -difference};
}

// One token's gates and what they are applied to.
struct TokenGate {
  Pair gates;
  GateTarget target;
};

// One token's rows of x and both paths, or of their gradients.
template <class S>
struct PathRows {
  S* x;
  S* deep;
  S* wide;
};

template <class S>
void combine_row(S* y, PathRows<const S> in, TokenGate gate, std::int64_t D) {
  const S *x = in.x, *deep = in.deep, *wide = in.wide;
  const Pair gates = gate.gates;
  if (gate.target == GateTarget::states) {
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) y[d] = gates.deep * deep[d] + gates.wide * wide[d];
  } else {
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d)
      y[d] = x[d] + gates.deep * (deep[d] - x[d]) + gates.wide * (wide[d] - x[d]);
  }
}

// <dy, h_deep>, <dy, h_wide>; of the updates h - x if that is the target
template <class S>
Pair gate_gradients(const S* dy, PathRows<const S> in, GateTarget target, std::int64_t D) {
  const S *x = in.x, *deep = in.deep, *wide = in.wide;
  const float origin = target == GateTarget::states ? 0.0F : 1.0F;
  float to_deep = 0;
  float to_wide = 0;
#pragma omp simd reduction(+ : to_deep, to_wide)
  for (std::int64_t d = 0; d < D; ++d) {
    to_deep += dy[d] * (deep[d] - origin * x[d]);
    to_wide += dy[d] * (wide[d] - origin * x[d]);
  }
  return {to_deep, to_wide};
}

// The sums' places of one token's logits: rows of dweight, then dbias.
struct LogitRows {
  const float* weight;  // [N, D]
  float* sums;          // [N·(D+1)]
  std::array<float, 2> dlogits;
};

// ddeep = g_d·dy, dwide = g_w·dy, dx = (what `updates` leaves of dy) + Σ_n dlogit_n·weight_n,
// dweight_n += dlogit_n·x, dbias_n += dlogit_n. dx may be dy.
template <int N, class S>
void gate_row_backward(PathRows<S> out, const S* dy, const S* x, TokenGate gate, LogitRows logits,
                       std::int64_t D) {
  S *dx = out.x, *ddeep = out.deep, *dwide = out.wide;
  const Pair gates = gate.gates;
  const float rest = gate.target == GateTarget::states ? 0.0F : 1.0F - gates.deep - gates.wide;
#pragma omp simd
  for (std::int64_t d = 0; d < D; ++d) {
    const float gradient = dy[d];
    const float input = x[d];
    float to_x = rest * gradient;
    ddeep[d] = gates.deep * gradient;
    dwide[d] = gates.wide * gradient;
    for (int n = 0; n < N; ++n) {
      to_x += logits.dlogits[n] * logits.weight[n * D + d];
      logits.sums[n * D + d] += logits.dlogits[n] * input;
    }
    dx[d] = to_x;
  }
  for (int n = 0; n < N; ++n) logits.sums[N * D + n] += logits.dlogits[n];
}

}  // namespace

void CpuOps::compute(const op::Gate& op) {
  const GateMode mode = op.mode;
  const GateTarget target = op.target;
  const std::int64_t D = op.x_TD.shape[1];
  float* gates = op.gates_T2.as<float>();
  const bool learned = mode != GateMode::fixed;
  const float* weight = learned ? op.weight_ND.as<float>() : nullptr;
  const float* bias = learned ? op.bias_N.as<float>() : nullptr;
  with_type(op.x_TD, [&]<class S>() {
    S* y = op.y_TD.as<S>();
    const S* x = op.x_TD.as<S>();
    const S* h_deep = op.h_deep_TD.as<S>();
    const S* h_wide = op.h_wide_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        const std::int64_t row = t * D;
        const Pair pair = gates_of(mode, x + row, weight, bias, D);
        gates[2 * t] = pair.deep;
        gates[2 * t + 1] = pair.wide;
        combine_row(y + row, {x + row, h_deep + row, h_wide + row}, {pair, target}, D);
      }
    });
  });
}

void CpuOps::compute(const op::ForcedGate& op) {
  const std::int64_t D = op.x_TD.shape[1];
  const GateTarget target = op.target;
  float* gates = op.gates_T2.as<float>();
  const float* own = op.own_T2.as<float>();
  const float* forced = op.forced_T2.as<float>();
  const std::int32_t* source = op.source_T.as<std::int32_t>();
  with_type(op.x_TD, [&]<class S>() {
    S* y = op.y_TD.as<S>();
    const S* x = op.x_TD.as<S>();
    const S* h_deep = op.h_deep_TD.as<S>();
    const S* h_wide = op.h_wide_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        for (std::int64_t i = 2 * t; i < 2 * t + 2; ++i)
          gates[i] = forced[i] >= 0 ? forced[i] : own[2 * std::int64_t{source[t]} + i % 2];
        combine_row(y + t * D, PathRows<const S>{x + t * D, h_deep + t * D, h_wide + t * D},
                    {{gates[2 * t], gates[2 * t + 1]}, target}, D);
      }
    });
  });
}

void CpuOps::compute(const op::GateBackward& op) {
  const GateMode mode = op.mode;
  const GateTarget target = op.target;
  const std::int64_t D = op.x_TD.shape[1];
  const std::int64_t N = gate_logits(mode);
  const float* dgates = op.dgates_T2.empty() ? nullptr : op.dgates_T2.as<float>();
  const float* gates = op.gates_T2.as<float>();
  const float* weight = N == 0 ? nullptr : op.weight_ND.as<float>();
  const RowSums dlogits(scratch_, num_threads_, N * (D + 1));  // columns: dweight, dbias
  const auto rows_backward = [&]<class S, int n>() {
    S* dx = op.dx_TD.as<S>();
    S* dh_deep = op.dh_deep_TD.as<S>();
    S* dh_wide = op.dh_wide_TD.as<S>();
    const S* dy = op.dy_TD.as<S>();
    const S* x = op.x_TD.as<S>();
    const S* h_deep = op.h_deep_TD.as<S>();
    const S* h_wide = op.h_wide_TD.as<S>();
    parallel_for(num_threads_, {op.x_TD.rows(), D}, [=](Piece piece) {
      RowAccumulator sums = dlogits.accumulator(piece.index);
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        const std::int64_t row = t * D;
        const Pair pair = {gates[2 * t], gates[2 * t + 1]};
        Pair to_gates{};
        if (n > 0)
          to_gates = gate_gradients(dy + row, {x + row, h_deep + row, h_wide + row}, target, D);
        if (dgates != nullptr) {
          to_gates.deep += dgates[2 * t];
          to_gates.wide += dgates[2 * t + 1];
        }
        gate_row_backward<n, S>(
            {dx + row, dh_deep + row, dh_wide + row}, dy + row, x + row, {pair, target},
            {weight, sums.next_row(), logit_gradients(mode, pair, to_gates)}, D);
      }
      sums.flush();
    });
  };
  with_type(op.x_TD, [&]<class S>() {
    if (N == 0) rows_backward.template operator()<S, 0>();
    if (N == 1) rows_backward.template operator()<S, 1>();
    if (N == 2) rows_backward.template operator()<S, 2>();
  });
  if (N == 0) return;
  dlogits.add_to(op.dweight_ND.as<float>(), 0, N * D);
  dlogits.add_to(op.dbias_N.as<float>(), N * D, N);
}

}  // namespace dualpath
