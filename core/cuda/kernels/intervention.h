// Gates that an evaluation forces, and what a routing report reads besides PathReadout.
// Mathematics: core/ops/gate.h.
#pragma once

#include "core/cuda/kernels/launch.h"

namespace dualpath::gpu {

// A block a token.
template <class S>
struct ForcedGate {
  S* y_TD;
  float* gates_T2;
  const float* own_T2;
  const float* forced_T2;
  const std::int32_t* source_T;
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  GateTarget target;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float gates[2];
    for (int i = 0; i < 2; ++i) {
      const float forced = forced_T2[token * 2 + i];
      gates[i] = forced >= 0 ? forced : own_T2[std::int64_t{source_T[token]} * 2 + i];
      if (t.index() == 0) gates_T2[token * 2 + i] = gates[i];
    }
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float x = x_TD[row + d], hd = h_deep_TD[row + d], hw = h_wide_TD[row + d];
      const float y = target == GateTarget::states ? gates[0] * hd + gates[1] * hw
                                                   : x + gates[0] * (hd - x) + gates[1] * (hw - x);
      y_TD[row + d] = static_cast<S>(y);
    });
  }
};

// A block a token; b may be null.
template <class S>
struct RowDistance {
  float* out_T;
  const S* a_TD;
  const S* b_TD;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float sum = 0;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float b = b_TD == nullptr ? 0.0F : static_cast<float>(b_TD[row + d]);
      const float difference = static_cast<float>(a_TD[row + d]) - b;
      sum += difference * difference;
    });
    sum = block_sum(t, sum);
    if (t.index() == 0) out_T[token] = sqrtf(sum);
  }
};

// ---- launches

void launch(auto& on, const op::ForcedGate& op) {
  with_type(op.x_TD, [&]<class S>() {
    launch_rows(on, op.x_TD.rows(), op.x_TD.cols(),
                ForcedGate<S>{.y_TD = op.y_TD.as<S>(),
                              .gates_T2 = op.gates_T2.as<float>(),
                              .own_T2 = op.own_T2.as<float>(),
                              .forced_T2 = op.forced_T2.as<float>(),
                              .source_T = op.source_T.as<std::int32_t>(),
                              .x_TD = op.x_TD.as<S>(),
                              .h_deep_TD = op.h_deep_TD.as<S>(),
                              .h_wide_TD = op.h_wide_TD.as<S>(),
                              .target = op.target,
                              .width = op.x_TD.cols()});
  });
}

void launch(auto& on, const op::RowDistance& op) {
  with_type(op.a_TD, [&]<class S>() {
    launch_rows(on, op.a_TD.rows(), op.a_TD.cols(),
                RowDistance<S>{.out_T = op.out_T.as<float>(),
                               .a_TD = op.a_TD.as<S>(),
                               .b_TD = optional<S>(op.b_TD),
                               .width = op.a_TD.cols()});
  });
}

}  // namespace dualpath::gpu
