// SwiGLU, the deep loop's mixture, the gates and their read-outs.
#pragma once

#include <vector>

#include "tests/reference_ops/attention_kernels.h"

namespace dualpath {

// ---- SwiGLU

template <class S>
void ReferenceOpsOf<S>::compute(const op::SwiGlu& op) {
  const std::int64_t hidden = op.out_TF.shape[1];
  for (std::int64_t t = 0; t < op.out_TF.shape[0]; ++t) {
    const S* gate = elements<S>(op.gate_up_T2F) + t * 2 * hidden;
    const S* up = gate + hidden;
    for (std::int64_t f = 0; f < hidden; ++f) {
      elements<S>(op.out_TF)[t * hidden + f] = gate[f] * sigmoid(gate[f]) * up[f];
    }
  }
}

// silu'(x) = σ(x)·(1 + x·(1-σ(x)))
template <class S>
void ReferenceOpsOf<S>::compute(const op::SwiGluBackward& op) {
  const std::int64_t hidden = op.out_TF.shape[1];
  for (std::int64_t t = 0; t < op.out_TF.shape[0]; ++t) {
    const S* gate_up = elements<S>(op.gate_up_T2F) + t * 2 * hidden;
    S* dgate_up = elements<S>(op.dgate_up_T2F) + t * 2 * hidden;
    for (std::int64_t f = 0; f < hidden; ++f) {
      const S gate = gate_up[f], up = gate_up[hidden + f];
      const S dout = elements<S>(op.dout_TF)[t * hidden + f];
      const S s = sigmoid(gate);
      elements<S>(op.out_TF)[t * hidden + f] = gate * s * up;
      dgate_up[f] = dout * up * s * (S(1) + gate * (S(1) - s));
      dgate_up[hidden + f] = dout * gate * s;
    }
  }
}

// ---- deep loop

template <class S>
void ReferenceOpsOf<S>::compute(const op::MixtureStep& op) {
  const LoopStep step = op.step;
  const std::int64_t width = op.h_TD.shape[1];
  for (std::int64_t t = 0; t < op.h_TD.shape[0]; ++t) {
    const S* h = elements<S>(op.h_TD) + t * width;
    S weight(0);
    if (step.combine == LoopCombine::mixture) {
      Sum<S> logit(elements<S>(op.router_b)[0]);
      for (std::int64_t d = 0; d < width; ++d) logit.add(elements<S>(op.router_w)[d] * h[d]);
      logit.add(elements<S>(op.router_w)[width] * S(step.feature()));
      const S q = sigmoid(logit.total());
      const S remaining = step.first() ? S(1) : elements<S>(op.remaining_T)[t];
      weight = step.last() ? remaining : remaining * q;
      elements<S>(op.q_T)[t] = q;
      elements<S>(op.remaining_T)[t] = remaining * (S(1) - q);
    } else if (step.combine == LoopCombine::mean) {
      weight = S(1) / S(step.iterations);
    } else {
      weight = S(step.last() ? 1 : 0);
    }
    elements<S>(op.weight_T)[t] = weight;
    for (std::int64_t d = 0; d < width; ++d) {
      S& h_deep = elements<S>(op.h_deep_TD)[t * width + d];
      h_deep = step.first() ? weight * h[d] : h_deep + weight * h[d];
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::RowDot& op) {
  const std::int64_t width = op.a_TD.shape[1];
  for (std::int64_t t = 0; t < op.a_TD.shape[0]; ++t) {
    elements<S>(op.out_T)[t] =
        dot(elements<S>(op.a_TD) + t * width, elements<S>(op.b_TD) + t * width, width);
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::MixtureWeightsBackward& op) {
  const std::int64_t iterations = op.c_KT.shape[0], tokens = op.c_KT.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto q = [&](std::int64_t k) { return elements<S>(op.q_KT)[k * tokens + t]; };
    const auto c = [&](std::int64_t k) {
      return elements<S>(op.c_KT)[k * tokens + t] + S(op.ponder_scale) * S(k + 1);
    };
    elements<S>(op.dlogit_KT)[(iterations - 1) * tokens + t] = S(0);
    S later = c(iterations - 1);  // R_{k+1}
    for (std::int64_t k = iterations - 2; k >= 0; --k) {
      S remaining(1);  // π_k
      for (std::int64_t j = 0; j < k; ++j) remaining = remaining * (S(1) - q(j));
      elements<S>(op.dlogit_KT)[k * tokens + t] = remaining * (c(k) - later) * q(k) * (S(1) - q(k));
      later = q(k) * c(k) + (S(1) - q(k)) * later;
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::MixtureStepBackward& op) {
  const LoopStep step = op.step;
  const std::int64_t tokens = op.h_TD.shape[0], width = op.h_TD.shape[1];
  const bool mixture = step.combine == LoopCombine::mixture;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t d = 0; d < width; ++d) {
      S& dh = elements<S>(op.dh_TD)[t * width + d];
      Sum<S> sum(dh);
      sum.add(elements<S>(op.weight_T)[t] * elements<S>(op.dh_deep_TD)[t * width + d]);
      if (mixture) sum.add(elements<S>(op.dlogit_T)[t] * elements<S>(op.router_w)[d]);
      dh = sum.total();
    }
  }
  if (!mixture) return;
  const S* dlogit = elements<S>(op.dlogit_T);
  for (std::int64_t d = 0; d <= width; ++d) {
    Sum<S> sum(elements<S>(op.drouter_w)[d]);
    for (std::int64_t t = 0; t < tokens; ++t) {
      sum.add(dlogit[t] * (d < width ? elements<S>(op.h_TD)[t * width + d] : S(step.feature())));
    }
    elements<S>(op.drouter_w)[d] = sum.total();
  }
  Sum<S> sum(elements<S>(op.drouter_b)[0]);
  for (std::int64_t t = 0; t < tokens; ++t) sum.add(dlogit[t]);
  elements<S>(op.drouter_b)[0] = sum.total();
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ExpectedIterations& op) {
  const std::int64_t tokens = op.weight_KT.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    Sum<S> sum;
    for (std::int64_t k = 0; k < op.weight_KT.shape[0]; ++k) {
      sum.add(S(k + 1) * elements<S>(op.weight_KT)[k * tokens + t]);
    }
    elements<S>(op.out_T)[t] = sum.total();
  }
}

// ---- gates

template <class S>
void ReferenceOpsOf<S>::compute(const op::Gate& op) {
  const GateMode mode = op.mode;
  using std::exp, std::max;
  const std::int64_t width = op.x_TD.shape[1];
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    const S* x = elements<S>(op.x_TD) + t * width;
    S logits[2] = {S(0), S(0)};
    for (std::int64_t n = 0; n < gate_logits(mode); ++n) {
      Sum<S> sum(elements<S>(op.bias_N)[n]);
      for (std::int64_t d = 0; d < width; ++d) {
        sum.add(x[d] * elements<S>(op.weight_ND)[n * width + d]);
      }
      logits[n] = sum.total();
    }
    S* g = elements<S>(op.gates_T2) + t * 2;
    switch (mode) {
      case GateMode::two_sigmoid:
        g[0] = sigmoid(logits[0]);
        g[1] = sigmoid(logits[1]);
        break;
      case GateMode::convex:
        g[0] = sigmoid(logits[0]);
        g[1] = S(1) - g[0];
        break;
      case GateMode::softmax: {
        const S largest = shift(max(logits[0], logits[1]));
        const S deep = exp(logits[0] - largest), wide = exp(logits[1] - largest);
        g[0] = deep / (deep + wide);
        g[1] = wide / (deep + wide);
        break;
      }
      case GateMode::fixed:
        g[0] = g[1] = S(0.5);
        break;
    }
    for (std::int64_t d = 0; d < width; ++d) {
      const S deep = elements<S>(op.h_deep_TD)[t * width + d];
      const S wide = elements<S>(op.h_wide_TD)[t * width + d];
      elements<S>(op.y_TD)[t * width + d] =
          op.target == GateTarget::states ? g[0] * deep + g[1] * wide
                                          : x[d] + g[0] * (deep - x[d]) + g[1] * (wide - x[d]);
    }
  }
}

// ∂L/∂ℓ from ∂L/∂g. Unused logits get 0.
template <class S>
void gate_logits_backward(S dlogits[2], const S dg[2], const S g[2], GateMode mode) {
  dlogits[0] = dlogits[1] = S(0);
  switch (mode) {
    case GateMode::two_sigmoid:
      dlogits[0] = dg[0] * g[0] * (S(1) - g[0]);
      dlogits[1] = dg[1] * g[1] * (S(1) - g[1]);
      break;
    case GateMode::convex:
      dlogits[0] = (dg[0] - dg[1]) * g[0] * g[1];
      break;
    case GateMode::softmax:
      dlogits[0] = (dg[0] - dg[1]) * g[0] * g[1];
      dlogits[1] = (dg[1] - dg[0]) * g[0] * g[1];
      break;
    case GateMode::fixed:
      break;
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ForcedGate& op) {
  const std::int64_t width = op.x_TD.shape[1];
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    const std::int64_t source = op.source_T.as<std::int32_t>()[t];
    S* g = elements<S>(op.gates_T2) + t * 2;
    for (std::int64_t i = 0; i < 2; ++i) {
      const S forced = elements<S>(op.forced_T2)[t * 2 + i];
      g[i] = !(forced < S(0)) ? forced : elements<S>(op.own_T2)[source * 2 + i];
    }
    for (std::int64_t d = 0; d < width; ++d) {
      const S x = elements<S>(op.x_TD)[t * width + d];
      const S deep = elements<S>(op.h_deep_TD)[t * width + d];
      const S wide = elements<S>(op.h_wide_TD)[t * width + d];
      elements<S>(op.y_TD)[t * width + d] = op.target == GateTarget::states
                                                ? g[0] * deep + g[1] * wide
                                                : x + g[0] * (deep - x) + g[1] * (wide - x);
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::RowDistance& op) {
  using std::sqrt;
  const std::int64_t width = op.a_TD.shape[1];
  for (std::int64_t t = 0; t < op.a_TD.shape[0]; ++t) {
    Sum<S> sum;
    for (std::int64_t d = t * width; d < (t + 1) * width; ++d) {
      const S b = op.b_TD.empty() ? S(0) : elements<S>(op.b_TD)[d];
      const S difference = elements<S>(op.a_TD)[d] - b;
      sum.add(difference * difference);
    }
    elements<S>(op.out_T)[t] = sqrt(sum.total());
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::GateBackward& op) {
  const GateMode mode = op.mode;
  const std::int64_t width = op.x_TD.shape[1], num_logits = gate_logits(mode);
  const bool updates = op.target == GateTarget::updates;
  S* dweight = optional_elements<S>(op.dweight_ND);
  S* dbias = optional_elements<S>(op.dbias_N);
  std::vector<Sum<S>> dweight_sums(dweight, dweight + num_logits * width);
  std::vector<Sum<S>> dbias_sums(dbias, dbias + num_logits);
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    const S* x = elements<S>(op.x_TD) + t * width;
    const S* h_deep = elements<S>(op.h_deep_TD) + t * width;
    const S* h_wide = elements<S>(op.h_wide_TD) + t * width;
    const S* g = elements<S>(op.gates_T2) + t * 2;
    const S* dy = elements<S>(op.dy_TD) + t * width;
    Sum<S> dg_deep, dg_wide;
    if (!op.dgates_T2.empty()) {
      dg_deep = Sum<S>(elements<S>(op.dgates_T2)[t * 2]);
      dg_wide = Sum<S>(elements<S>(op.dgates_T2)[t * 2 + 1]);
    }
    for (std::int64_t d = 0; d < width; ++d) {
      dg_deep.add(dy[d] * (updates ? h_deep[d] - x[d] : h_deep[d]));
      dg_wide.add(dy[d] * (updates ? h_wide[d] - x[d] : h_wide[d]));
      elements<S>(op.dh_deep_TD)[t * width + d] = g[0] * dy[d];
      elements<S>(op.dh_wide_TD)[t * width + d] = g[1] * dy[d];
    }
    const S dg[2] = {dg_deep.total(), dg_wide.total()};
    S dlogits[2];
    gate_logits_backward(dlogits, dg, g, mode);
    for (std::int64_t d = 0; d < width; ++d) {
      Sum<S> dx(updates ? (S(1) - g[0] - g[1]) * dy[d] : S(0));
      for (std::int64_t n = 0; n < num_logits; ++n) {
        dx.add(dlogits[n] * elements<S>(op.weight_ND)[n * width + d]);
        dweight_sums[n * width + d].add(dlogits[n] * x[d]);
      }
      elements<S>(op.dx_TD)[t * width + d] = dx.total();
    }
    for (std::int64_t n = 0; n < num_logits; ++n) dbias_sums[n].add(dlogits[n]);
  }
  for (std::int64_t i = 0; i < num_logits * width; ++i) dweight[i] = dweight_sums[i].total();
  for (std::int64_t n = 0; n < num_logits; ++n) dbias[n] = dbias_sums[n].total();
}

// p = g_d/(g_d+g_w), ½ where both vanish.
template <class S>
S gate_share(const S g[2]) {
  const S total = g[0] + g[1];
  return total == S(0) ? S(0.5) : g[0] / total;
}

// H(p), with 0·ln 0 = 0.
template <class S>
S binary_entropy(S p) {
  using std::log;
  const S q = S(1) - p;
  return (p == S(0) ? S(0) : -(p * log(p))) - (q == S(0) ? S(0) : q * log(q));
}

// -H'(p) = ln(p/(1-p)) = ln(g_d/g_w), ∂p/∂g_d = g_w/(g_d+g_w)², ∂p/∂g_w = -g_d/(g_d+g_w)².
template <class S>
void ReferenceOpsOf<S>::compute(const op::GateRegularizer& op) {
  const std::int64_t positions = op.positions;
  using std::log;
  WideSum<S> entropy_loss(elements<S>(op.losses_2)[0]), balance_loss(elements<S>(op.losses_2)[1]);
  for (std::int64_t begin = 0; begin < op.gates_T2.shape[0]; begin += positions) {
    Sum<S> share;
    for (std::int64_t t = begin; t < begin + positions; ++t) {
      const S p = gate_share(elements<S>(op.gates_T2) + t * 2);
      share.add(p);
      entropy_loss.add(-binary_entropy(p));
    }
    const S excess = share.total() / S(positions) - S(0.5);
    balance_loss.add(excess * excess);
    for (std::int64_t t = begin; t < begin + positions; ++t) {
      const S* g = elements<S>(op.gates_T2) + t * 2;
      S* dgates = elements<S>(op.dgates_T2) + t * 2;
      if (g[0] == S(0) || g[1] == S(0)) {
        dgates[0] = dgates[1] = S(0);
        continue;
      }
      const S total = g[0] + g[1];
      const S dp = S(op.entropy_scale) * log(g[0] / g[1]) +
                   S(op.balance_scale) * S(2) * excess / S(positions);
      dgates[0] = dp * g[1] / (total * total);
      dgates[1] = -(dp * g[0] / (total * total));
    }
  }
  elements<S>(op.losses_2)[0] = entropy_loss.total();
  elements<S>(op.losses_2)[1] = balance_loss.total();
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::PathReadout& op) {
  using std::sqrt;
  const std::int64_t width = op.x_TD.shape[1];
  std::vector<S> deep(static_cast<std::size_t>(width)), wide(deep);
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    const S* x = elements<S>(op.x_TD) + t * width;
    for (std::int64_t d = 0; d < width; ++d) {
      deep[d] = elements<S>(op.h_deep_TD)[t * width + d] - x[d];
      wide[d] = elements<S>(op.h_wide_TD)[t * width + d] - x[d];
    }
    const S* g = elements<S>(op.gates_T2) + t * 2;
    const S deep_norm = sqrt(dot(deep.data(), deep.data(), width));
    const S wide_norm = sqrt(dot(wide.data(), wide.data(), width));
    const S moved = g[0] * deep_norm + g[1] * wide_norm;
    S* out = elements<S>(op.readout_TC) + t * op::PathReadout::num_columns;
    out[op::PathReadout::gate_deep] = g[0];
    out[op::PathReadout::gate_wide] = g[1];
    out[op::PathReadout::gate_entropy] = binary_entropy(gate_share(g));
    out[op::PathReadout::deep_share] = moved == S(0) ? S(0.5) : g[0] * deep_norm / moved;
    out[op::PathReadout::cosine] =
        deep_norm == S(0) || wide_norm == S(0)
            ? S(0)
            : dot(deep.data(), wide.data(), width) / (deep_norm * wide_norm);
    out[op::PathReadout::input_norm] = sqrt(dot(x, x, width));
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ColumnSums& op) {
  const std::int64_t columns = op.out_C.shape[0];
  for (std::int64_t c = 0; c < columns; ++c) {
    WideSum<S> sum(elements<S>(op.out_C)[c]);
    for (std::int64_t t = 0; t < op.in_TC.shape[0]; ++t) {
      sum.add(elements<S>(op.in_TC)[t * columns + c]);
    }
    elements<S>(op.out_C)[c] = sum.total();
  }
}

}  // namespace dualpath
