// SwiGLU, the deep loop's mixture, the gates and their read-outs.
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

constexpr GateMode kGateModes[] = {GateMode::two_sigmoid, GateMode::convex, GateMode::softmax,
                                   GateMode::fixed};

TEST_P(KernelSuite, SwiGlu) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, F = shape.width;
    for (const double magnitude : {1.0, 30.0, 200.0}) {  // 200: exp overflows in fp32
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Shape TF{T, F}, T2F{T, 2 * F};
        const Tensor gate_up = x.input(operand("gate_up"), T2F, -magnitude, magnitude);
        const Tensor dout = x.input(operand("dout"), TF);
        ops.run(op::SwiGlu{.out_TF = x.output(operand("out"), TF), .gate_up_T2F = gate_up});
        ops.run(op::SwiGluBackward{.dgate_up_T2F = x.output(operand("dgate_up"), T2F),
                                   .out_TF = x.output(operand("out again"), TF),
                                   .dout_TF = dout,
                                   .gate_up_T2F = gate_up});
        const Tensor in_place = x.inout(operand("in place"), T2F, -magnitude, magnitude);
        ops.run(op::SwiGluBackward{.dgate_up_T2F = in_place,
                                   .out_TF = x.output(operand("out of in place"), TF),
                                   .dout_TF = dout,
                                   .gate_up_T2F = in_place});
      })) << T
          << ' ' << F << ' ' << magnitude;
    }
  }
}

TEST_P(KernelSuite, MixtureStep) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    for (const auto combine : {LoopCombine::mixture, LoopCombine::final, LoopCombine::mean}) {
      for (const auto& [index, iterations] : {std::pair{0, 1}, {0, 4}, {1, 4}, {3, 4}}) {
        const LoopStep step{combine, index, iterations};
        EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
          const Shape TD{T, D};
          const Tensor h = x.input(stream("h"), TD), weight = x.output("weight", {T});
          const Tensor h_deep =
              step.first() ? x.output(stream("h_deep"), TD) : x.inout(stream("h_deep"), TD);
          Tensor q, remaining, router_w, router_b, dlogit, drouter_w, drouter_b;
          if (combine == LoopCombine::mixture) {
            q = x.output("q", {T});
            remaining = step.first() ? x.output("remaining", {T}) : x.inout("remaining", {T}, 0, 1);
            router_w = x.input("router_w", {D + 1});
            router_b = x.input("router_b", {1});
            dlogit = x.input("dlogit", {T});
            drouter_w = x.inout("drouter_w", {D + 1});
            drouter_b = x.inout("drouter_b", {1});
          }
          ops.run(op::MixtureStep{.h_deep_TD = h_deep,
                                  .weight_T = weight,
                                  .q_T = q,
                                  .remaining_T = remaining,
                                  .h_TD = h,
                                  .router_w = router_w,
                                  .router_b = router_b,
                                  .step = step});
          ops.run(op::MixtureStepBackward{.dh_TD = x.inout(stream("dh"), TD),
                                          .drouter_w = drouter_w,
                                          .drouter_b = drouter_b,
                                          .dh_deep_TD = x.input(stream("dh_deep"), TD),
                                          .h_TD = h,
                                          .weight_T = weight,
                                          .dlogit_T = dlogit,
                                          .router_w = router_w,
                                          .step = step});
        })) << T
            << ' ' << D << " iteration " << index << " of " << iterations << ", combine "
            << static_cast<int>(combine);
      }
    }
  }
}

TEST_P(KernelSuite, MixtureWeights) {
  for (const std::int64_t K : {1, 2, 4, 7}) {
    for (const std::int64_t T : {1, 5, 300}) {
      for (const double ponder_scale : {0.0, 0.3}) {
        EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
          ops.run(op::MixtureWeightsBackward{.dlogit_KT = x.output("dlogit", {K, T}),
                                             .c_KT = x.input("c", {K, T}),
                                             .q_KT = x.input("q", {K, T}, 0, 1),
                                             .ponder_scale = ponder_scale});
          ops.run(op::ExpectedIterations{.out_T = x.output("expected", {T}),
                                         .weight_KT = x.input("weight", {K, T}, 0, 1)});
        })) << K
            << ' ' << T << ' ' << ponder_scale;
      }
    }
  }
}

TEST_P(KernelSuite, Gate) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    for (const GateMode mode : kGateModes) {
      for (const GateTarget target : {GateTarget::states, GateTarget::updates}) {
        for (const bool regularized : {false, true}) {
          EXPECT_TRUE(agrees([=](Ops& ops, Operands& in) {
            const Shape TD{T, D};
            const std::int64_t N = gate_logits(mode);
            Tensor weight, bias, dweight, dbias, dgates;
            if (N > 0) {
              weight = in.input("weight", {N, D});
              bias = in.input("bias", {N});
              dweight = in.inout("dweight", {N, D});
              dbias = in.inout("dbias", {N});
            }
            if (regularized) dgates = in.input("dgates", {T, 2});
            const Tensor x = in.input(stream("x"), TD), h_deep = in.input(stream("h_deep"), TD);
            const Tensor h_wide = in.input(stream("h_wide"), TD),
                         gates = in.output("gates", {T, 2});
            ops.run(op::Gate{.y_TD = in.output(stream("y"), TD),
                             .gates_T2 = gates,
                             .x_TD = x,
                             .h_deep_TD = h_deep,
                             .h_wide_TD = h_wide,
                             .weight_ND = weight,
                             .bias_N = bias,
                             .mode = mode,
                             .target = target});
            const Tensor dy = in.inout(stream("dy, then dx"), TD);
            ops.run(op::GateBackward{.dx_TD = dy,
                                     .dh_deep_TD = in.output(stream("dh_deep"), TD),
                                     .dh_wide_TD = in.output(stream("dh_wide"), TD),
                                     .dweight_ND = dweight,
                                     .dbias_N = dbias,
                                     .dy_TD = dy,
                                     .dgates_T2 = dgates,
                                     .x_TD = x,
                                     .h_deep_TD = h_deep,
                                     .h_wide_TD = h_wide,
                                     .gates_T2 = gates,
                                     .weight_ND = weight,
                                     .mode = mode,
                                     .target = target});
          })) << T
              << ' ' << D << " mode " << static_cast<int>(mode) << " target "
              << static_cast<int>(target) << (regularized ? " regularized" : "");
        }
      }
    }
  }
}

// gate_backward with dx in memory of its own.
TEST_P(KernelSuite, GateBackwardOutOfPlace) {
  EXPECT_TRUE(agrees([](Ops& ops, Operands& in) {
    const Shape TD{33, 7};
    ops.run(op::GateBackward{.dx_TD = in.output(stream("dx"), TD),
                             .dh_deep_TD = in.output(stream("dh_deep"), TD),
                             .dh_wide_TD = in.output(stream("dh_wide"), TD),
                             .dy_TD = in.input(stream("dy"), TD),
                             .x_TD = in.input(stream("x"), TD),
                             .h_deep_TD = in.input(stream("h_deep"), TD),
                             .h_wide_TD = in.input(stream("h_wide"), TD),
                             .gates_T2 = in.input("gates", {33, 2}, 0, 1),
                             .mode = GateMode::fixed,
                             .target = GateTarget::updates});
  }));
}

TEST_P(KernelSuite, GateRegularizer) {
  for (const auto& size : {std::pair{1, 1}, {5, 1}, {1, 300}, {7, 33}}) {
    for (const auto& scales : {std::pair{1.0, 0.0}, {0.0, 1.0}, {0.3, 0.7}}) {
      const int sequences = size.first, positions = size.second;
      const double entropy = scales.first, balance = scales.second;
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Shape T2{sequences * positions, 2};
        ops.run(op::GateRegularizer{.dgates_T2 = x.output("dgates", T2),
                                    .losses_2 = x.sums("losses", {2}),
                                    .gates_T2 = x.input("gates", T2, 0.05, 0.95),
                                    .positions = positions,
                                    .entropy_scale = entropy,
                                    .balance_scale = balance});
      })) << sequences
          << " x " << positions << ' ' << entropy << ' ' << balance;
    }
  }
}

TEST_P(KernelSuite, PathReadout) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& in) {
      const Shape TD{T, D};
      ops.run(op::PathReadout{.readout_TC = in.output("readout", {T, op::PathReadout::num_columns}),
                              .x_TD = in.input(stream("x"), TD),
                              .h_deep_TD = in.input(stream("h_deep"), TD),
                              .h_wide_TD = in.input(stream("h_wide"), TD),
                              .gates_T2 = in.input("gates", {T, 2}, 0.05, 0.95)});
    })) << T
        << ' ' << D;
  }
}

TEST_P(KernelSuite, ForcedGate) {
  for (const auto& [T, D] : kRowShapes) {
    for (const GateTarget target : {GateTarget::states, GateTarget::updates}) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& in) {
        const Shape TD{T, D}, T2{T, 2};
        ops.run(op::ForcedGate{.y_TD = in.output(stream("y"), TD),
                               .gates_T2 = in.output("gates", T2),
                               .own_T2 = in.input("own", T2, 0.05, 0.95),
                               .forced_T2 = in.whole_numbers("forced", T2, -1, 2),
                               .source_T = in.ids("source", {T}, 0, T),
                               .x_TD = in.input(stream("x"), TD),
                               .h_deep_TD = in.input(stream("h_deep"), TD),
                               .h_wide_TD = in.input(stream("h_wide"), TD),
                               .target = target});
      })) << T
          << ' ' << D;
    }
  }
}

TEST_P(KernelSuite, RowDistance) {
  for (const auto& [T, D] : kRowShapes) {
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& in) {
      const Shape TD{T, D};
      const Tensor a = in.input(stream("a"), TD), b = in.input(stream("b"), TD);
      ops.run(op::RowDistance{.out_T = in.output("distance", {T}), .a_TD = a, .b_TD = b});
      ops.run(op::RowDistance{.out_T = in.output("norm", {T}), .a_TD = a});
      ops.run(op::RowDistance{.out_T = in.output("none", {T}), .a_TD = a, .b_TD = a});
    })) << T
        << ' ' << D;
  }
}

// Gates of exactly 0 and 1 (one path off, or both) and paths that change nothing.
TEST_P(KernelSuite, VanishingGatesAndUpdates) {
  EXPECT_TRUE(agrees([](Ops& ops, Operands& in) {
    constexpr std::int64_t T = 40, D = 7;
    const Shape TD{T, D}, readout{T, op::PathReadout::num_columns};
    const Tensor gates = in.whole_numbers("gates", {T, 2}, 0, 2);
    const Tensor x = in.input(stream("x"), TD), h = in.input(stream("h"), TD);
    ops.run(op::PathReadout{.readout_TC = in.output("readout", readout),
                            .x_TD = x,
                            .h_deep_TD = h,
                            .h_wide_TD = h,
                            .gates_T2 = gates});
    ops.run(op::PathReadout{.readout_TC = in.output("deep still", readout),
                            .x_TD = x,
                            .h_deep_TD = x,
                            .h_wide_TD = h,
                            .gates_T2 = gates});
    ops.run(op::PathReadout{.readout_TC = in.output("wide still", readout),
                            .x_TD = x,
                            .h_deep_TD = h,
                            .h_wide_TD = x,
                            .gates_T2 = gates});
    ops.run(op::PathReadout{.readout_TC = in.output("both still", readout),
                            .x_TD = x,
                            .h_deep_TD = x,
                            .h_wide_TD = x,
                            .gates_T2 = gates});
    ops.run(op::GateRegularizer{.dgates_T2 = in.output("dgates", {T, 2}),
                                .losses_2 = in.sums("losses", {2}),
                                .gates_T2 = gates,
                                .positions = T / 2,
                                .entropy_scale = 1,
                                .balance_scale = 1});
  }));
}

}  // namespace
}  // namespace dualpath
