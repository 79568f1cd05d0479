// The deep loop's mixture, the gates and their read-outs: a block takes whole tokens. Sums over
// tokens as in core/cuda/kernels/launch.h. Mathematics: core/ops/loop.h, core/ops/gate.h.
#pragma once

#include "core/cuda/kernels/launch.h"

namespace dualpath::gpu {

// A block a token.
template <class S>
struct MixtureStep {
  S* h_deep_TD;
  float* weight_T;
  float* q_T;  // these two null without a router
  float* remaining_T;
  const S* h_TD;
  const float* router_w;
  const float* router_b;
  LoopCombine combine;
  bool first, last;
  float mean_weight;  // 1/K
  float feature;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float weight = combine == LoopCombine::mean ? mean_weight : last ? 1.0F : 0.0F;
    if (combine == LoopCombine::mixture) {
      float logit = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        logit += router_w[d] * static_cast<float>(h_TD[row + d]);
      });
      logit = block_sum(t, logit) + router_b[0] + router_w[width] * feature;
      const float q = sigmoid(logit);
      const float remaining = first ? 1.0F : remaining_T[token];
      weight = last ? remaining : remaining * q;
      t.barrier();  // all have read remaining
      if (t.index() == 0) {
        q_T[token] = q;
        remaining_T[token] = remaining * (1 - q);
      }
    }
    if (t.index() == 0) weight_T[token] = weight;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float before = first ? 0.0F : static_cast<float>(h_deep_TD[row + d]);
      h_deep_TD[row + d] = static_cast<S>(before + weight * static_cast<float>(h_TD[row + d]));
    });
  }
};

// Block b takes tokens b, b + blocks, …; partial[b, D+2] = Σ dlogit·[h ; feature ; 1]. Without a
// router, dlogit and partial are null.
template <class S>
struct MixtureStepBackward {
  S* dh_TD;
  float* partial;
  const S* dh_deep_TD;
  const S* h_TD;
  const float* weight_T;
  const float* dlogit_T;
  const float* router_w;
  float feature;
  std::int64_t tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const bool router = dlogit_T != nullptr;
    auto* sums = static_cast<float*>(t.shared());
    float feature_sum = 0, bias_sum = 0;
    if (router) for_each_pack<1>(t, width, [&](std::int64_t d) { sums[d] = 0; });
    for (std::int64_t token = t.block(); token < tokens; token += t.num_blocks()) {
      const std::int64_t row = token * width;
      const float weight = weight_T[token], dlogit = router ? dlogit_T[token] : 0.0F;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        float dh =
            static_cast<float>(dh_TD[row + d]) + weight * static_cast<float>(dh_deep_TD[row + d]);
        if (router) {
          dh += dlogit * router_w[d];
          sums[d] += dlogit * static_cast<float>(h_TD[row + d]);
        }
        dh_TD[row + d] = static_cast<S>(dh);
      });
      feature_sum += dlogit * feature;
      bias_sum += dlogit;
    }
    if (!router) return;
    float* mine = partial + t.block() * (width + 2);
    for_each_pack<1>(t, width, [&](std::int64_t d) { mine[d] = sums[d]; });
    if (t.index() == 0) {
      mine[width] = feature_sum;
      mine[width + 1] = bias_sum;
    }
  }
};

struct MixtureWeightsBackward {
  float* dlogit_KT;
  const float* c_KT;
  const float* q_KT;
  float ponder_scale;
  std::int64_t iterations, tokens;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, tokens, [&](std::int64_t i) {
      const auto q = [&](std::int64_t k) { return q_KT[k * tokens + i]; };
      const auto c = [&](std::int64_t k) {
        return c_KT[k * tokens + i] + ponder_scale * static_cast<float>(k + 1);
      };
      dlogit_KT[(iterations - 1) * tokens + i] = 0;
      float later = c(iterations - 1);  // R_{k+1}
      for (std::int64_t k = iterations - 2; k >= 0; --k) {
        float remaining = 1;  // π_k
        for (std::int64_t j = 0; j < k; ++j) remaining *= 1 - q(j);
        dlogit_KT[k * tokens + i] = remaining * (c(k) - later) * q(k) * (1 - q(k));
        later = q(k) * c(k) + (1 - q(k)) * later;
      }
    });
  }
};

struct ExpectedIterations {
  float* out_T;
  const float* weight_KT;
  std::int64_t iterations, tokens;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, tokens, [&](std::int64_t i) {
      float sum = 0;
      for (std::int64_t k = 0; k < iterations; ++k)
        sum += static_cast<float>(k + 1) * weight_KT[k * tokens + i];
      out_T[i] = sum;
    });
  }
};

// A block a token.
template <class S>
struct Gate {
  S* y_TD;
  float* gates_T2;
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* weight_ND;
  const float* bias_N;
  GateMode mode;
  GateTarget target;
  int num_logits;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float logits[2] = {0, 0};
    for (int n = 0; n < num_logits; ++n) {
      float sum = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        sum += static_cast<float>(x_TD[row + d]) * weight_ND[n * width + d];
      });
      logits[n] = block_sum(t, sum) + bias_N[n];
    }
    float deep = 0.5F, wide = 0.5F;
    if (mode == GateMode::two_sigmoid) {
      deep = sigmoid(logits[0]);
      wide = sigmoid(logits[1]);
    } else if (mode == GateMode::convex) {
      deep = sigmoid(logits[0]);
      wide = 1 - deep;
    } else if (mode == GateMode::softmax) {
      const float largest = fmaxf(logits[0], logits[1]);
      const float a = expf(logits[0] - largest), b = expf(logits[1] - largest);
      deep = a / (a + b);
      wide = b / (a + b);
    }
    if (t.index() == 0) {
      gates_T2[token * 2] = deep;
      gates_T2[token * 2 + 1] = wide;
    }
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float x = x_TD[row + d], hd = h_deep_TD[row + d], hw = h_wide_TD[row + d];
      const float y = target == GateTarget::states ? deep * hd + wide * hw
                                                   : x + deep * (hd - x) + wide * (hw - x);
      y_TD[row + d] = static_cast<S>(y);
    });
  }
};

// Block b takes tokens b, b + blocks, …; partial[b, N·D + N] = Σ dlogit·[x ; 1]. dx may be dy.
template <class S>
struct GateBackward {
  S* dx_TD;
  S* dh_deep_TD;
  S* dh_wide_TD;
  float* partial;
  const S* dy_TD;
  const float* dgates_T2;  // or null
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* gates_T2;
  const float* weight_ND;
  GateMode mode;
  GateTarget target;
  int num_logits;
  std::int64_t tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const bool updates = target == GateTarget::updates;
    auto* sums = static_cast<float*>(t.shared());  // [N, D]
    float bias_sums[2] = {0, 0};
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      for (int n = 0; n < num_logits; ++n) sums[n * width + d] = 0;
    });
    for (std::int64_t token = t.block(); token < tokens; token += t.num_blocks()) {
      const std::int64_t row = token * width;
      const float deep = gates_T2[token * 2], wide = gates_T2[token * 2 + 1];
      float dg_deep = 0, dg_wide = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        const float dy = dy_TD[row + d], from = updates ? static_cast<float>(x_TD[row + d]) : 0.0F;
        dg_deep += dy * (static_cast<float>(h_deep_TD[row + d]) - from);
        dg_wide += dy * (static_cast<float>(h_wide_TD[row + d]) - from);
      });
      dg_deep = block_sum(t, dg_deep);
      dg_wide = block_sum(t, dg_wide);
      if (dgates_T2 != nullptr) {
        dg_deep += dgates_T2[token * 2];
        dg_wide += dgates_T2[token * 2 + 1];
      }
      float dlogits[2] = {0, 0};
      if (mode == GateMode::two_sigmoid) {
        dlogits[0] = dg_deep * deep * (1 - deep);
        dlogits[1] = dg_wide * wide * (1 - wide);
      } else if (mode != GateMode::fixed) {
        dlogits[0] = (dg_deep - dg_wide) * deep * wide;
        dlogits[1] = -dlogits[0];
      }
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        const float dy = dy_TD[row + d], x = x_TD[row + d];
        float dx = updates ? (1 - deep - wide) * dy : 0.0F;
        for (int n = 0; n < num_logits; ++n) {
          dx += dlogits[n] * weight_ND[n * width + d];
          sums[n * width + d] += dlogits[n] * x;
        }
        dh_deep_TD[row + d] = static_cast<S>(deep * dy);
        dh_wide_TD[row + d] = static_cast<S>(wide * dy);
        dx_TD[row + d] = static_cast<S>(dx);
      });
      for (int n = 0; n < num_logits; ++n) bias_sums[n] += dlogits[n];
    }
    if (num_logits == 0) return;
    float* mine = partial + t.block() * num_logits * (width + 1);
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      for (int n = 0; n < num_logits; ++n) mine[n * width + d] = sums[n * width + d];
    });
    if (t.index() == 0)
      for (int n = 0; n < num_logits; ++n) mine[num_logits * width + n] = bias_sums[n];
  }
};

DUALPATH_HOST_DEVICE inline float gate_share(float deep, float wide) {
  const float total = deep + wide;
  return total == 0 ? 0.5F : deep / total;
}
DUALPATH_HOST_DEVICE inline float binary_entropy(float p) {
  const float q = 1 - p;
  return (p == 0 ? 0.0F : -p * logf(p)) - (q == 0 ? 0.0F : q * logf(q));
}

// A block a sequence; partial[block, 2]: its parts of the two losses.
struct GateRegularizer {
  float* dgates_T2;
  double* partial;
  const float* gates_T2;
  std::int64_t positions;
  float entropy_scale, balance_scale;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const float* gates = gates_T2 + t.block() * positions * 2;
    float* dgates = dgates_T2 + t.block() * positions * 2;
    double share = 0, entropy = 0;
    for_each_pack<1>(t, positions, [&](std::int64_t i) {
      const float p = gate_share(gates[i * 2], gates[i * 2 + 1]);
      share += static_cast<double>(p);
      entropy += static_cast<double>(binary_entropy(p));
    });
    share = block_sum(t, share);
    entropy = block_sum(t, entropy);
    const double excess = share / static_cast<double>(positions) - 0.5;
    if (t.index() == 0) {
      partial[t.block() * 2] = -entropy;
      partial[t.block() * 2 + 1] = excess * excess;
    }
    const float balance =
        balance_scale * 2 * static_cast<float>(excess) / static_cast<float>(positions);
    for_each_pack<1>(t, positions, [&](std::int64_t i) {
      const float deep = gates[i * 2], wide = gates[i * 2 + 1];
      const bool flat = deep == 0 || wide == 0;
      const float total = deep + wide;
      const float dp = flat ? 0.0F : entropy_scale * logf(deep / wide) + balance;
      dgates[i * 2] = flat ? 0.0F : dp * wide / (total * total);
      dgates[i * 2 + 1] = flat ? 0.0F : -(dp * deep / (total * total));
    });
  }
};

// A block a token.
template <class S>
struct PathReadoutRow {
  float* readout_TC;
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* gates_T2;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float deep = 0, wide = 0, both = 0, input = 0;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float x = x_TD[row + d];
      const float a = static_cast<float>(h_deep_TD[row + d]) - x;
      const float b = static_cast<float>(h_wide_TD[row + d]) - x;
      deep += a * a;
      wide += b * b;
      both += a * b;
      input += x * x;
    });
    deep = sqrtf(block_sum(t, deep));
    wide = sqrtf(block_sum(t, wide));
    both = block_sum(t, both);
    input = sqrtf(block_sum(t, input));
    if (t.index() != 0) return;
    const float gd = gates_T2[token * 2], gw = gates_T2[token * 2 + 1];
    const float moved = gd * deep + gw * wide;
    float* out = readout_TC + token * op::PathReadout::num_columns;
    out[op::PathReadout::gate_deep] = gd;
    out[op::PathReadout::gate_wide] = gw;
    out[op::PathReadout::gate_entropy] = binary_entropy(gate_share(gd, gw));
    out[op::PathReadout::deep_share] = moved == 0 ? 0.5F : gd * deep / moved;
    out[op::PathReadout::cosine] = deep == 0 || wide == 0 ? 0.0F : both / (deep * wide);
    out[op::PathReadout::input_norm] = input;
  }
};

// ---- launches

void launch(auto& on, const op::MixtureStep& op) {
  with_type(op.h_TD, [&]<class S>() {
    launch_rows(on, op.h_TD.rows(), op.h_TD.cols(),
                MixtureStep<S>{.h_deep_TD = op.h_deep_TD.as<S>(),
                               .weight_T = op.weight_T.as<float>(),
                               .q_T = optional<float>(op.q_T),
                               .remaining_T = optional<float>(op.remaining_T),
                               .h_TD = op.h_TD.as<S>(),
                               .router_w = optional<float>(op.router_w),
                               .router_b = optional<float>(op.router_b),
                               .combine = op.step.combine,
                               .first = op.step.first(),
                               .last = op.step.last(),
                               .mean_weight = 1 / static_cast<float>(op.step.iterations),
                               .feature = static_cast<float>(op.step.feature()),
                               .width = op.h_TD.cols()});
  });
}

void launch(auto& on, const op::MixtureStepBackward& op) {
  const std::int64_t tokens = op.h_TD.rows(), width = op.h_TD.cols();
  const bool router = !op.dlogit_T.empty();
  const std::int64_t blocks = router ? summing_blocks(on, tokens) : tokens;
  float* partial = router ? partial_sums<float>(on, blocks, width + 2) : nullptr;
  with_type(op.h_TD, [&]<class S>() {
    launch_blocks(on, blocks, row_threads(width, 1),
                  static_cast<std::size_t>(width) * sizeof(float),
                  MixtureStepBackward<S>{.dh_TD = op.dh_TD.as<S>(),
                                         .partial = partial,
                                         .dh_deep_TD = op.dh_deep_TD.as<S>(),
                                         .h_TD = op.h_TD.as<S>(),
                                         .weight_T = op.weight_T.as<float>(),
                                         .dlogit_T = optional<float>(op.dlogit_T),
                                         .router_w = optional<float>(op.router_w),
                                         .feature = static_cast<float>(op.step.feature()),
                                         .tokens = tokens,
                                         .width = width});
  });
  if (!router) return;
  add_columns(on, SplitTotals{.first_A = op.drouter_w.as<float>(),
                              .second = op.drouter_b.as<float>(),
                              .partial = partial,
                              .blocks = blocks,
                              .first_columns = width + 1,
                              .columns = width + 2});
}

void launch(auto& on, const op::MixtureWeightsBackward& op) {
  launch_elements(on, op.c_KT.cols(), 1,
                  MixtureWeightsBackward{.dlogit_KT = op.dlogit_KT.as<float>(),
                                         .c_KT = op.c_KT.as<float>(),
                                         .q_KT = op.q_KT.as<float>(),
                                         .ponder_scale = static_cast<float>(op.ponder_scale),
                                         .iterations = op.c_KT.rows(),
                                         .tokens = op.c_KT.cols()});
}

void launch(auto& on, const op::ExpectedIterations& op) {
  launch_elements(on, op.weight_KT.cols(), 1,
                  ExpectedIterations{.out_T = op.out_T.as<float>(),
                                     .weight_KT = op.weight_KT.as<float>(),
                                     .iterations = op.weight_KT.rows(),
                                     .tokens = op.weight_KT.cols()});
}

void launch(auto& on, const op::Gate& op) {
  with_type(op.x_TD, [&]<class S>() {
    launch_rows(on, op.x_TD.rows(), op.x_TD.cols(),
                Gate<S>{.y_TD = op.y_TD.as<S>(),
                        .gates_T2 = op.gates_T2.as<float>(),
                        .x_TD = op.x_TD.as<S>(),
                        .h_deep_TD = op.h_deep_TD.as<S>(),
                        .h_wide_TD = op.h_wide_TD.as<S>(),
                        .weight_ND = optional<float>(op.weight_ND),
                        .bias_N = optional<float>(op.bias_N),
                        .mode = op.mode,
                        .target = op.target,
                        .num_logits = static_cast<int>(gate_logits(op.mode)),
                        .width = op.x_TD.cols()});
  });
}

void launch(auto& on, const op::GateBackward& op) {
  const std::int64_t tokens = op.x_TD.rows(), width = op.x_TD.cols();
  const std::int64_t logits = gate_logits(op.mode), blocks = summing_blocks(on, tokens);
  float* partial = partial_sums<float>(on, blocks, logits * (width + 1));
  with_type(op.x_TD, [&]<class S>() {
    launch_blocks(on, blocks, row_threads(width, 1),
                  static_cast<std::size_t>(logits * width) * sizeof(float),
                  GateBackward<S>{.dx_TD = op.dx_TD.as<S>(),
                                  .dh_deep_TD = op.dh_deep_TD.as<S>(),
                                  .dh_wide_TD = op.dh_wide_TD.as<S>(),
                                  .partial = partial,
                                  .dy_TD = op.dy_TD.as<S>(),
                                  .dgates_T2 = optional<float>(op.dgates_T2),
                                  .x_TD = op.x_TD.as<S>(),
                                  .h_deep_TD = op.h_deep_TD.as<S>(),
                                  .h_wide_TD = op.h_wide_TD.as<S>(),
                                  .gates_T2 = op.gates_T2.as<float>(),
                                  .weight_ND = optional<float>(op.weight_ND),
                                  .mode = op.mode,
                                  .target = op.target,
                                  .num_logits = static_cast<int>(logits),
                                  .tokens = tokens,
                                  .width = width});
  });
  if (logits == 0) return;
  add_columns(on, SplitTotals{.first_A = op.dweight_ND.as<float>(),
                              .second = op.dbias_N.as<float>(),
                              .partial = partial,
                              .blocks = blocks,
                              .first_columns = logits * width,
                              .columns = logits * (width + 1)});
}

void launch(auto& on, const op::GateRegularizer& op) {
  const std::int64_t sequences = op.gates_T2.rows() / op.positions;
  double* partial = partial_sums<double>(on, sequences, 2);
  launch_blocks(on, sequences, block_threads, 0,
                GateRegularizer{.dgates_T2 = op.dgates_T2.as<float>(),
                                .partial = partial,
                                .gates_T2 = op.gates_T2.as<float>(),
                                .positions = op.positions,
                                .entropy_scale = static_cast<float>(op.entropy_scale),
                                .balance_scale = static_cast<float>(op.balance_scale)});
  add_columns(on, ColumnTotals<double>{.total_C = op.losses_2.as<double>(),
                                       .partial = partial,
                                       .blocks = sequences,
                                       .columns = 2});
}

void launch(auto& on, const op::PathReadout& op) {
  with_type(op.x_TD, [&]<class S>() {
    launch_rows(on, op.x_TD.rows(), op.x_TD.cols(),
                PathReadoutRow<S>{.readout_TC = op.readout_TC.as<float>(),
                                  .x_TD = op.x_TD.as<S>(),
                                  .h_deep_TD = op.h_deep_TD.as<S>(),
                                  .h_wide_TD = op.h_wide_TD.as<S>(),
                                  .gates_T2 = op.gates_T2.as<float>(),
                                  .width = op.x_TD.cols()});
  });
}

}  // namespace dualpath::gpu
