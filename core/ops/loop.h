// The deep loop: router and mixture over its iterations, one call per iteration k in order.
//
// mixture: q = σ(router_w·[h ; feature] + router_b); weight = remaining·q for k < K,
// weight = remaining for k = K; then remaining *= 1-q. final: weight = [k = K]; mean: weight = 1/K;
// without a router its tensors, q and remaining are empty.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/ops/contract.h"

namespace dualpath {

enum class LoopCombine { mixture, final, mean };

// One iteration of the deep loop as the router sees it.
struct LoopStep {
  LoopCombine combine = LoopCombine::mixture;
  std::int64_t index = 0;       // k-1, counted from 0
  std::int64_t iterations = 1;  // K
  // K in training, where an evaluation forces another; 0: the same.
  std::int64_t trained = 0;
  // (k-1)/max(1, K-1) of training's K, at most 1: the router's last input.
  double feature() const {
    const std::int64_t last = (trained == 0 ? iterations : trained) - 1;
    return std::min(
        1.0, static_cast<double>(index) / static_cast<double>(std::max<std::int64_t>(last, 1)));
  }
  bool first() const { return index == 0; }
  bool last() const { return index + 1 == iterations; }
  bool routed() const { return combine == LoopCombine::mixture; }
  void require(Contract& call) const {
    call.require(0 <= index && index < iterations, "iteration {} of {}", index, iterations);
  }
};

namespace op {

// h_deep (= if first, += after) weight·h; q =, weight =; remaining: taken as 1 at the first
// iteration, updated after. router_w has D+1 elements.
struct MixtureStep {
  static constexpr const char* name = "mixture_step";
  Tensor h_deep_TD, weight_T;
  Tensor q_T = {}, remaining_T = {};
  Tensor h_TD;
  Tensor router_w = {}, router_b = {};
  LoopStep step;

  void operands(Contract& call) const {
    step.require(call);
    call.rank("h", h_TD, 2);
    const Shape T{h_TD.shape[0]};
    const bool routed = step.routed();
    step.first() ? call.write("h_deep", h_deep_TD, TypeClass::stream, h_TD.shape)
                 : call.update("h_deep", h_deep_TD, TypeClass::stream, h_TD.shape);
    call.write("weight", weight_T, TypeClass::master, T);
    call.write_if(routed, "q", q_T, TypeClass::master, T);
    step.first() ? call.write_if(routed, "remaining", remaining_T, TypeClass::master, T)
                 : call.update_if(routed, "remaining", remaining_T, TypeClass::master, T);
    call.read("h", h_TD, TypeClass::stream, h_TD.shape);
    call.read_if(routed, "router_w", router_w, TypeClass::master, flat(h_TD.shape[1] + 1));
    call.read_if(routed, "router_b", router_b, TypeClass::master, flat(1));
  }
};

// out_T = Σ_d a[t,d]·b[t,d]
struct RowDot {
  static constexpr const char* name = "row_dot";
  Tensor out_T, a_TD, b_TD;

  void operands(Contract& call) const {
    call.rank("a", a_TD, 2);
    call.write("out", out_T, TypeClass::master, {a_TD.shape[0]});
    call.read("a", a_TD, TypeClass::stream, a_TD.shape);
    call.read("b", b_TD, TypeClass::stream, a_TD.shape);
  }
};

// Only for `mixture`. c_KT[k] = <∂L/∂h_deep, h^k>, to which ponder_scale·k is added (the gradient
// of ponder_scale·Σ_t E_t, E the expected iterations). With R_K = c_K and R_k = q_k·c_k +
// (1-q_k)·R_{k+1}:  ∂L/∂q_k = π_k·(c_k - R_{k+1}), π_k = Π_{j<k}(1-q_j). dlogit_KT[k] =
// ∂L/∂q_k·q_k·(1-q_k), and 0 for k = K.
struct MixtureWeightsBackward {
  static constexpr const char* name = "mixture_weights_backward";
  Tensor dlogit_KT, c_KT, q_KT;
  double ponder_scale;

  void operands(Contract& call) const {
    call.rank("dlogit", dlogit_KT, 2);
    call.write("dlogit", dlogit_KT, TypeClass::master, dlogit_KT.shape);
    call.read("c", c_KT, TypeClass::master, dlogit_KT.shape);
    call.read("q", q_KT, TypeClass::master, dlogit_KT.shape);
  }
};

// dh += weight·dh_deep + dlogit·router_w[0:D]; drouter_w += Σ_t dlogit·[h ; feature];
// drouter_b += Σ_t dlogit. Without a router the dlogit terms are absent.
struct MixtureStepBackward {
  static constexpr const char* name = "mixture_step_backward";
  Tensor dh_TD;
  Tensor drouter_w = {}, drouter_b = {};
  Tensor dh_deep_TD, h_TD, weight_T;
  Tensor dlogit_T = {}, router_w = {};
  LoopStep step;

  void operands(Contract& call) const {
    step.require(call);
    call.rank("h", h_TD, 2);
    const Shape T{h_TD.shape[0]};
    const std::int64_t inputs = h_TD.shape[1] + 1;
    const bool routed = step.routed();
    call.update("dh", dh_TD, TypeClass::stream, h_TD.shape);
    call.update_if(routed, "drouter_w", drouter_w, TypeClass::master, flat(inputs));
    call.update_if(routed, "drouter_b", drouter_b, TypeClass::master, flat(1));
    call.read("dh_deep", dh_deep_TD, TypeClass::stream, h_TD.shape);
    call.read("h", h_TD, TypeClass::stream, h_TD.shape);
    call.read("weight", weight_T, TypeClass::master, T);
    call.read_if(routed, "dlogit", dlogit_T, TypeClass::master, T);
    call.read_if(routed, "router_w", router_w, TypeClass::master, flat(inputs));
  }
};

// out_T = Σ_k k·weight_KT[k] (k from 1): expected iterations
struct ExpectedIterations {
  static constexpr const char* name = "expected_iterations";
  Tensor out_T, weight_KT;

  void operands(Contract& call) const {
    call.rank("weight", weight_KT, 2);
    call.write("out", out_T, TypeClass::master, {weight_KT.shape[1]});
    call.read("weight", weight_KT, TypeClass::master, weight_KT.shape);
  }
};

}  // namespace op
}  // namespace dualpath
