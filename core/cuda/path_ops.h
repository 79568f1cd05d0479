// The loop's mixture, gates, regularisers and read-outs: the launches of path_kernels.h.
#pragma once

#include "core/cuda/elementwise_kernels.h"
#include "core/cuda/launching_ops.h"
#include "core/cuda/path_kernels.h"

namespace dualpath::gpu {

template <class Base>
class PathOps : public Base {
 public:
  using Base::Base;

  void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T, Tensor h_TD,
                    Tensor router_w, Tensor router_b, LoopStep step) override {
    check_mixture_step(h_deep_TD, weight_T, q_T, remaining_T, h_TD, router_w, router_b, step);
    with_type(h_TD, [&]<class S>() {
      this->launch_rows(
          h_TD.rows(), h_TD.cols(),
          MixtureStep<S>{h_deep_TD.as<S>(), weight_T.as<float>(), optional<float>(q_T),
                         optional<float>(remaining_T), h_TD.as<S>(), optional<float>(router_w),
                         optional<float>(router_b), step.combine, step.first(), step.last(),
                         1 / static_cast<float>(step.iterations),
                         static_cast<float>(step.feature()), h_TD.cols()});
    });
  }
  void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b, Tensor dh_deep_TD,
                             Tensor h_TD, Tensor weight_T, Tensor dlogit_T, Tensor router_w,
                             LoopStep step) override {
    check_mixture_step_backward(dh_TD, drouter_w, drouter_b, dh_deep_TD, h_TD, weight_T, dlogit_T,
                                router_w, step);
    const std::int64_t tokens = h_TD.rows(), width = h_TD.cols();
    const bool router = !dlogit_T.empty();
    const std::int64_t blocks = router ? this->summing_blocks(tokens) : tokens;
    float* partial = router ? this->partial_floats(blocks, width + 2) : nullptr;
    with_type(h_TD, [&]<class S>() {
      this->launch(blocks, row_threads(width, 1), static_cast<std::size_t>(width) * sizeof(float),
                   MixtureStepBackward<S>{dh_TD.as<S>(), partial, dh_deep_TD.as<S>(), h_TD.as<S>(),
                                          weight_T.as<float>(), optional<float>(dlogit_T),
                                          optional<float>(router_w),
                                          static_cast<float>(step.feature()), tokens, width});
    });
    if (router) {
      this->add_split_columns(drouter_w.as<float>(), drouter_b.as<float>(), partial, blocks,
                              width + 1, width + 2);
    }
  }
  void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                double ponder_scale) override {
    check_mixture_weights_backward(dlogit_KT, c_KT, q_KT);
    this->launch_elements(
        c_KT.cols(), 1,
        MixtureWeightsBackward{dlogit_KT.as<float>(), c_KT.as<float>(), q_KT.as<float>(),
                               static_cast<float>(ponder_scale), c_KT.rows(), c_KT.cols()});
  }
  void expected_iterations(Tensor out_T, Tensor weight_KT) override {
    check_expected_iterations(out_T, weight_KT);
    this->launch_elements(weight_KT.cols(), 1,
                          ExpectedIterations{out_T.as<float>(), weight_KT.as<float>(),
                                             weight_KT.rows(), weight_KT.cols()});
  }
  void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
            Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) override {
    check_gate(y_TD, gates_T2, x_TD, h_deep_TD, h_wide_TD, weight_ND, bias_N, mode);
    with_type(x_TD, [&]<class S>() {
      this->launch_rows(
          x_TD.rows(), x_TD.cols(),
          Gate<S>{y_TD.as<S>(), gates_T2.as<float>(), x_TD.as<S>(), h_deep_TD.as<S>(),
                  h_wide_TD.as<S>(), optional<float>(weight_ND), optional<float>(bias_N), mode,
                  target, static_cast<int>(gate_logits(mode)), x_TD.cols()});
    });
  }
  void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                     Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD, Tensor h_deep_TD,
                     Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND, GateMode mode,
                     GateTarget target) override {
    check_gate_backward(dx_TD, dh_deep_TD, dh_wide_TD, dweight_ND, dbias_N, dy_TD, dgates_T2, x_TD,
                        h_deep_TD, h_wide_TD, gates_T2, weight_ND, mode);
    const std::int64_t tokens = x_TD.rows(), width = x_TD.cols(), logits = gate_logits(mode);
    const std::int64_t blocks = this->summing_blocks(tokens);
    float* partial = this->partial_floats(blocks, logits * (width + 1));
    with_type(x_TD, [&]<class S>() {
      this->launch(blocks, row_threads(width, 1),
                   static_cast<std::size_t>(logits * width) * sizeof(float),
                   GateBackward<S>{dx_TD.as<S>(), dh_deep_TD.as<S>(), dh_wide_TD.as<S>(), partial,
                                   dy_TD.as<S>(), optional<float>(dgates_T2), x_TD.as<S>(),
                                   h_deep_TD.as<S>(), h_wide_TD.as<S>(), gates_T2.as<float>(),
                                   optional<float>(weight_ND), mode, target,
                                   static_cast<int>(logits), tokens, width});
    });
    if (logits == 0) return;
    this->add_split_columns(dweight_ND.as<float>(), dbias_N.as<float>(), partial, blocks,
                            logits * width, logits * (width + 1));
  }
  void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2, std::int64_t positions,
                        double entropy_scale, double balance_scale) override {
    check_gate_regularizer(dgates_T2, losses_2, gates_T2, positions);
    const std::int64_t sequences = gates_T2.rows() / positions;
    double* partial = this->partial_doubles(sequences, 2);
    this->launch(
        sequences, block_threads, 0,
        GateRegularizer{dgates_T2.as<float>(), partial, gates_T2.as<float>(), positions,
                        static_cast<float>(entropy_scale), static_cast<float>(balance_scale)});
    this->add_columns(losses_2.as<double>(), partial, sequences, 2);
  }
  void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor gates_T2) override {
    check_path_readout(readout_TC, x_TD, h_deep_TD, h_wide_TD, gates_T2);
    with_type(x_TD, [&]<class S>() {
      this->launch_rows(x_TD.rows(), x_TD.cols(),
                        PathReadoutRow<S>{readout_TC.as<float>(), x_TD.as<S>(), h_deep_TD.as<S>(),
                                          h_wide_TD.as<S>(), gates_T2.as<float>(), x_TD.cols()});
    });
  }
};

}  // namespace dualpath::gpu
