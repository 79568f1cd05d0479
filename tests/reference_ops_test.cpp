// The reference's forward kernels against values and laws that are known without its formulas; its
// backward kernels are held against the forward ones by kernel_gradient_test.cpp.
#include "tests/reference_ops/reference_ops.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/array.h"

namespace dualpath {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

constexpr double kExact = 1e-14;  // a few roundings of numbers of size 1

TEST(ReferenceOps, MatmulAndItsTransposes) {
  ReferenceOps ops;
  Array a{{1, 2, 3, 4, 5, 6}, {2, 3}}, a_t{{1, 4, 2, 5, 3, 6}, {3, 2}};
  Array b{{1, 0, 2, 1, 0, 3}, {3, 2}}, b_t{{1, 2, 0, 0, 1, 3}, {2, 3}};
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      Array c = poisoned({2, 2});
      ops.run(op::Matmul{.c = c, .a = ta ? a_t : a, .b = tb ? b_t : b, .flags = {ta, tb}});
      EXPECT_THAT(c.values, ElementsAre(5, 11, 14, 23));
      ops.run(op::Matmul{.c = c, .a = ta ? a_t : a, .b = tb ? b_t : b, .flags = {ta, tb, true}});
      EXPECT_THAT(c.values, ElementsAre(10, 22, 28, 46));
    }
  }
}

TEST(ReferenceOps, EmbeddingRefusesIdsOutsideItsTable) {
  ReferenceOps ops;
  Array table = uniform("table", {3, 1}), out = poisoned({2, 1});
  IdArray ids{{2, 0}, {2}};
  ops.run(op::Embedding{.out_TD = out, .ids_T = ids, .table_VD = table, .rows = {0, 3}});
  EXPECT_THAT(out.values, ElementsAre(table[2], table[0]));
  for (const std::int32_t wrong : {-1, 3}) {
    ids[0] = wrong;
    EXPECT_THROW(
        ops.run(op::Embedding{.out_TD = out, .ids_T = ids, .table_VD = table, .rows = {0, 3}}),
        Error);
  }
}

TEST(ReferenceOps, RmsNormGivesRowsOfUnitMeanSquare) {
  ReferenceOps ops;
  Array x{{3, 4}, {1, 2}}, weight{{1, 2}, {2}}, out = poisoned({1, 2}), rstd = poisoned({1});
  ops.run(op::RmsNorm{.out_TD = out, .rstd_T = rstd, .x_TD = x, .weight_D = weight, .epsilon = 0});
  const double root = std::sqrt(12.5);
  EXPECT_THAT(out.values, Pointwise(DoubleNear(kExact), {3 / root, 8 / root}));
  ops.run(op::RmsNorm{.out_TD = out,
                      .rstd_T = rstd,
                      .x_TD = x,
                      .weight_D = weight,
                      .epsilon = 3.5});  // (12.5 + 3.5)^-1/2
  EXPECT_THAT(rstd.values, ElementsAre(0.25));
  EXPECT_THAT(out.values, ElementsAre(0.75, 2));
}

TEST(ReferenceOps, ResidualScaleIsSoftplus) {
  ReferenceOps ops;
  Array x{{1}, {1, 1}}, y{{2}, {1, 1}}, out = poisoned({1, 1});
  ops.run(op::Residual{.out_TD = out, .x_TD = x, .y_TD = y});
  EXPECT_EQ(out[0], 3);
  for (const auto& [raw, scale] : {std::pair{std::log(std::exp(1.0) - 1), 1.0},
                                   {0.0, std::log(2.0)},
                                   {-7.0, 9.114664537742e-4},
                                   {800.0, 800.0}}) {
    Array gain = constant({1}, raw);
    ops.run(op::Residual{.out_TD = out, .x_TD = x, .y_TD = y, .gain = gain});
    EXPECT_NEAR(out[0], 1 + 2 * scale, 2 * scale * 1e-12);
  }
}

class Rope : public testing::Test {
 protected:
  static constexpr std::int64_t P = 6, E = 4;
  Rope() {
    for (std::int64_t p = 0; p < P; ++p) {
      for (std::int64_t i = 0; i < E / 2; ++i) {
        const double angle = static_cast<double>(p) * std::pow(0.1, i);
        cos_[p * E / 2 + i] = std::cos(angle);
        sin_[p * E / 2 + i] = std::sin(angle);
      }
    }
  }
  ReferenceOps ops_;
  Array cos_ = poisoned({P, E / 2}), sin_ = poisoned({P, E / 2});
};

// With the same q and k at every position, q·k depends on the distance alone.
TEST_F(Rope, ProductsDependOnDistance) {
  const AttentionShape shape{1, P, 1, 1, E};
  Array head = uniform("head", {3 * E}), qkv = poisoned({P, 3 * E});
  for (std::int64_t i = 0; i < qkv.size(); ++i) qkv[i] = head[i % (3 * E)];
  Array q = poisoned({P, 1, E}), k = poisoned({P, 1, E});
  ops_.run(op::QkRope{.q_THE = q,
                      .k_TGE = k,
                      .qkv_TC = qkv,
                      .cos_PR = cos_,
                      .sin_PR = sin_,
                      .shape = shape,
                      .norm = QkNorm::none,
                      .epsilon = 0});
  const auto product = [&](std::int64_t s, std::int64_t t) {
    double sum = 0;
    for (std::int64_t e = 0; e < E; ++e) sum += q[s * E + e] * k[t * E + e];
    return sum;
  };
  for (std::int64_t t = 1; t < P; ++t) EXPECT_NEAR(product(t, t - 1), product(1, 0), kExact);
  EXPECT_GT(std::abs(product(1, 0) - product(0, 1)), 1e-3);      // and on its sign
  for (std::int64_t e = 0; e < E; ++e) EXPECT_EQ(q[e], qkv[e]);  // position 0 does not turn
}

// A quarter turn takes the pair (x_0, x_{0+R}) = (a, c) to (-c, a).
TEST_F(Rope, PairsAreHalvesApart) {
  const AttentionShape shape{1, 1, 1, 1, E};
  Array qkv{{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0}, {1, 3 * E}};
  Array cos{{0, 1}, {1, 2}}, sin{{1, 0}, {1, 2}}, q = poisoned({1, 1, E}), k = poisoned({1, 1, E});
  ops_.run(op::QkRope{.q_THE = q,
                      .k_TGE = k,
                      .qkv_TC = qkv,
                      .cos_PR = cos,
                      .sin_PR = sin,
                      .shape = shape,
                      .norm = QkNorm::none,
                      .epsilon = 0});
  EXPECT_THAT(q.values, ElementsAre(-3, 2, 1, 4));
  EXPECT_THAT(k.values, ElementsAre(-7, 6, 5, 8));
}

// Equal weights commute with rotations, so the two orders of norm and rotation agree then, and
// differ otherwise.
TEST_F(Rope, NormBeforeAndAfterDifferByTheWeights) {
  const AttentionShape shape{2, P, 2, 1, E};
  const std::int64_t T = shape.tokens();
  Array qkv = uniform("qkv", {T, 4 * E}), k_weight = constant({E}, 1);
  const auto queries = [&](Array q_weight, QkNorm norm) {
    Array q = poisoned({T, 2, E}), k = poisoned({T, 1, E}), rstd = poisoned({T, 3});
    ops_.run(op::QkRope{.q_THE = q,
                        .k_TGE = k,
                        .rstd_TN = rstd,
                        .qkv_TC = qkv,
                        .q_weight_E = q_weight,
                        .k_weight_E = k_weight,
                        .cos_PR = cos_,
                        .sin_PR = sin_,
                        .shape = shape,
                        .norm = norm,
                        .epsilon = 1e-5});
    return q.values;
  };
  const Array equal = constant({E}, 1.5), unequal{{1, 2, 3, 4}, {E}};
  EXPECT_THAT(queries(equal, QkNorm::after_rope),
              Pointwise(DoubleNear(kExact), queries(equal, QkNorm::before_rope)));
  EXPECT_THAT(queries(unequal, QkNorm::after_rope),
              testing::Not(Pointwise(DoubleNear(0.1), queries(unequal, QkNorm::before_rope))));
}

class ReferenceAttention : public testing::Test {
 protected:
  static constexpr AttentionShape kShape{2, 4, 4, 2, 2};
  static constexpr std::int64_t T = 8, H = 4, G = 2, E = 2, C = (H + 2 * G) * E;
  void attend() {
    ops_.run(op::Attention{.out_THE = out_,
                           .log_sum_TH = log_sum_,
                           .q_THE = q_,
                           .k_TGE = k_,
                           .qkv_TC = qkv_,
                           .shape = kShape});
  }
  double value(std::int64_t t, std::int64_t g, std::int64_t e) {
    return qkv_[t * C + (H + G + g) * E + e];
  }
  ReferenceOps ops_;
  Array q_ = uniform("q", {T, H, E}), k_ = uniform("k", {T, G, E}), qkv_ = uniform("qkv", {T, C});
  Array out_ = poisoned({T, H, E}), log_sum_ = poisoned({T, H});
};

TEST_F(ReferenceAttention, EqualKeysGiveTheMeanOfTheValuesSoFar) {
  k_ = constant({T, G, E}, 0);
  attend();
  for (std::int64_t t = 0; t < T; ++t) {
    const std::int64_t begin = t / 4 * 4;  // of the sequence
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t e = 0; e < E; ++e) {
        double mean = 0;
        for (std::int64_t j = begin; j <= t; ++j) mean += value(j, h / 2, e);
        mean /= static_cast<double>(t - begin + 1);
        EXPECT_NEAR(out_[(t * H + h) * E + e], mean, kExact);
      }
      EXPECT_NEAR(log_sum_[t * H + h], std::log(t - begin + 1), kExact);
    }
  }
}

// Two keys whose scores differ by ln 3: the weights are 3/4 and 1/4.
TEST_F(ReferenceAttention, ScoresAreScaledByTheRootOfTheHeadSize) {
  q_ = constant({T, H, E}, 1);
  k_ = constant({T, G, E}, 0);
  for (std::int64_t g = 0; g < G; ++g) k_[g * E] = std::sqrt(2.0) * std::log(3.0);  // of token 0
  attend();
  EXPECT_NEAR(out_[H * E], 0.75 * value(0, 0, 0) + 0.25 * value(1, 0, 0), kExact);
  EXPECT_NEAR(log_sum_[H], std::log(4), kExact);
}

TEST_F(ReferenceAttention, SeesNoLaterTokenAndNoOtherSequence) {
  attend();
  const Array before = out_;
  constexpr std::int64_t changed = 5;  // in the second sequence, tokens 4 to 7
  for (std::int64_t i = 0; i < G * E; ++i) k_[changed * G * E + i] += 1;
  for (std::int64_t i = 0; i < C; ++i) qkv_[changed * C + i] += 1;
  attend();
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t i = t * H * E; i < (t + 1) * H * E; ++i) {
      EXPECT_EQ(out_[i] == before[i], t < changed) << t;
    }
  }
}

TEST(ReferenceOps, SwiGlu) {
  ReferenceOps ops;
  Array gate_up{{0, std::log(3.0), 5, 2}, {1, 4}}, out = poisoned({1, 2});
  ops.run(op::SwiGlu{.out_TF = out, .gate_up_T2F = gate_up});
  EXPECT_THAT(out.values, Pointwise(DoubleNear(kExact), {0.0, 0.75 * std::log(3.0) * 2}));
}

// A router that always answers ½ leaves ½, ¼, ⅛ and the rest, ⅛.
TEST(ReferenceOps, MixtureOfAnUndecidedRouter) {
  ReferenceOps ops;
  constexpr std::int64_t K = 4;
  Array h = poisoned({1, 2}), h_deep = poisoned({1, 2}), weight = poisoned({K, 1});
  Array q = poisoned({1}), remaining = poisoned({1}), expected = poisoned({1});
  Array router_w = constant({3}, 0), router_b = constant({1}, 0);
  for (std::int64_t k = 0; k < K; ++k) {
    h = constant({1, 2}, static_cast<double>(k + 1));
    ops.run(op::MixtureStep{.h_deep_TD = h_deep,
                            .weight_T = weight.tensor().row(k),
                            .q_T = q,
                            .remaining_T = remaining,
                            .h_TD = h,
                            .router_w = router_w,
                            .router_b = router_b,
                            .step = {LoopCombine::mixture, k, K}});
  }
  EXPECT_THAT(weight.values, ElementsAre(0.5, 0.25, 0.125, 0.125));
  ops.run(op::ExpectedIterations{.out_T = expected, .weight_KT = weight});
  EXPECT_EQ(expected[0], 0.5 + 0.5 + 0.375 + 0.5);
  EXPECT_THAT(h_deep.values, ElementsAre(expected[0], expected[0]));
}

// The router's last input is the iteration's feature, 0 to 1.
TEST(ReferenceOps, TheRouterSeesTheIteration) {
  ReferenceOps ops;
  Array h = constant({1, 1}, 0), h_deep = constant({1, 1}, 0), weight = poisoned({1});
  Array q = poisoned({1}), remaining = constant({1}, 1);
  Array router_w{{5, std::log(3.0)}, {2}}, router_b = constant({1}, 0);
  const auto answer = [&](std::int64_t index, std::int64_t iterations) {
    ops.run(op::MixtureStep{.h_deep_TD = h_deep,
                            .weight_T = weight,
                            .q_T = q,
                            .remaining_T = remaining,
                            .h_TD = h,
                            .router_w = router_w,
                            .router_b = router_b,
                            .step = {LoopCombine::mixture, index, iterations}});
    return q[0];
  };
  EXPECT_NEAR(answer(0, 3), 0.5, kExact);
  EXPECT_NEAR(answer(2, 3), 0.75, kExact);
  EXPECT_NEAR(answer(1, 3), std::sqrt(3) / (1 + std::sqrt(3)), kExact);
  EXPECT_NEAR(answer(0, 1), 0.5, kExact);
}

TEST(ReferenceOps, GatesAndTheirTargets) {
  ReferenceOps ops;
  // ℓ_d = ln 3, ℓ_w = -ln 3
  Array x{{std::log(3.0)}, {1, 1}}, h_deep{{10}, {1, 1}}, h_wide{{100}, {1, 1}};
  Array two{{1, -1}, {2, 1}}, one{{1}, {1, 1}}, y = poisoned({1, 1}), g = poisoned({1, 2});
  Array two_biases = constant({2}, 0), one_bias = constant({1}, 0);
  const auto gates = [&](Tensor weight, Tensor bias, GateMode mode) {
    ops.run(op::Gate{.y_TD = y,
                     .gates_T2 = g,
                     .x_TD = x,
                     .h_deep_TD = h_deep,
                     .h_wide_TD = h_wide,
                     .weight_ND = weight,
                     .bias_N = bias,
                     .mode = mode,
                     .target = GateTarget::states});
    EXPECT_NEAR(y[0], 10 * g[0] + 100 * g[1], 1e-12);
    const Array states_gates = g;
    ops.run(op::Gate{.y_TD = y,
                     .gates_T2 = g,
                     .x_TD = x,
                     .h_deep_TD = h_deep,
                     .h_wide_TD = h_wide,
                     .weight_ND = weight,
                     .bias_N = bias,
                     .mode = mode,
                     .target = GateTarget::updates});
    EXPECT_NEAR(y[0], x[0] + g[0] * (10 - x[0]) + g[1] * (100 - x[0]), 1e-12);
    EXPECT_EQ(g.values, states_gates.values);
    return g.values;
  };
  const auto near = [](double deep, double wide) {
    return Pointwise(DoubleNear(kExact), {deep, wide});
  };
  EXPECT_THAT(gates(two, two_biases, GateMode::two_sigmoid), near(0.75, 0.25));
  EXPECT_THAT(gates(one, one_bias, GateMode::convex), near(0.75, 0.25));
  EXPECT_THAT(gates(two, two_biases, GateMode::softmax), near(0.9, 0.1));  // e^2ℓ = 9
  EXPECT_THAT(gates({}, {}, GateMode::fixed), near(0.5, 0.5));
}

TEST(ReferenceOps, RegularizersOfBalancedAndClosedGates) {
  ReferenceOps ops;
  Array gates{{0.3, 0.3, 0.8, 0.8, 1, 0, 0, 0}, {4, 2}}, dgates = poisoned({4, 2});
  Array losses = constant({2}, 0);
  ops.run(op::GateRegularizer{.dgates_T2 = dgates,
                              .losses_2 = losses,
                              .gates_T2 = gates,
                              .positions = 2,
                              .entropy_scale = 1,
                              .balance_scale = 1});
  // H = ln 2 for the three shares of ½ and 0 for the share of 1; the second mean share is ¾.
  EXPECT_THAT(losses.values, Pointwise(DoubleNear(kExact), {-3 * std::log(2.0), 1.0 / 16}));
  EXPECT_THAT(dgates.values, testing::Each(0));
}

TEST(ReferenceOps, PathReadout) {
  ReferenceOps ops;
  Array x{{3, 4}, {1, 2}}, h_deep{{6, 4}, {1, 2}}, h_wide{{3, 8}, {1, 2}};  // Δ = (3, 0), (0, 4)
  Array gates{{0.8, 0.2}, {1, 2}}, readout = poisoned({1, op::PathReadout::num_columns});
  ops.run(op::PathReadout{.readout_TC = readout,
                          .x_TD = x,
                          .h_deep_TD = h_deep,
                          .h_wide_TD = h_wide,
                          .gates_T2 = gates});
  const double entropy = -0.8 * std::log(0.8) - 0.2 * std::log(0.2);
  EXPECT_THAT(readout.values, Pointwise(DoubleNear(kExact), {0.8, 0.2, entropy, 0.75, 0.0, 5.0}));
  ops.run(op::PathReadout{.readout_TC = readout,
                          .x_TD = x,
                          .h_deep_TD = h_deep,
                          .h_wide_TD = h_deep,
                          .gates_T2 = gates});
  EXPECT_NEAR(readout[op::PathReadout::cosine], 1, kExact);
  EXPECT_NEAR(readout[op::PathReadout::deep_share], 0.8, kExact);
}

TEST(ReferenceOps, CrossEntropy) {
  ReferenceOps ops;
  Array logits{{0, 0, std::log(2.0), 7, 7, 7}, {2, 3}}, loss = poisoned({2});
  IdArray targets{{2, -1}, {2}};
  ops.run(
      op::CrossEntropy{.loss_T = loss, .logits_TV = logits, .targets_T = targets, .grad_scale = 0});
  EXPECT_THAT(loss.values, Pointwise(DoubleNear(kExact), {std::log(2.0), 0.0}));
  EXPECT_EQ(logits[3], 7);  // no gradient asked for
  ops.run(op::CrossEntropy{.loss_T = loss,
                           .dlogits_TV = logits,
                           .logits_TV = logits,
                           .targets_T = targets,
                           .grad_scale = 2});
  EXPECT_THAT(logits.values, Pointwise(DoubleNear(kExact), {0.5, 0.5, -1.0, 0.0, 0.0, 0.0}));
}

// At the first step m/c1 = g and v/c2 = g², so that the step is lr·sign(g), decay apart.
TEST(ReferenceOps, AdamWStartsWithTheSignOfTheGradient) {
  ReferenceOps ops;
  Array value{{2, 2}, {2}}, m = constant({2}, 0), v = constant({2}, 0), gradient{{4, -0.5}, {2}};
  ops.run(op::AdamW{.value_N = value,
                    .m_N = m,
                    .v_N = v,
                    .gradient_N = gradient,
                    .step = {.learning_rate = 0.1,
                             .beta1 = 0.9,
                             .beta2 = 0.99,
                             .epsilon = 0,
                             .weight_decay = 0.5,
                             .correction1 = 1 - 0.9,
                             .correction2 = 1 - 0.99,
                             .gradient_scale = 0.5}});
  EXPECT_THAT(value.values, Pointwise(DoubleNear(kExact), {2 - 0.1 - 0.1, 2 + 0.1 - 0.1}));
  EXPECT_THAT(m.values, Pointwise(DoubleNear(kExact), {0.1 * 2, 0.1 * -0.25}));
  EXPECT_THAT(v.values, Pointwise(DoubleNear(kExact), {0.01 * 4, 0.01 * 0.0625}));
}

TEST(ReferenceOps, Sums) {
  ReferenceOps ops;
  Array in{{1, 2, 3, 4, 5, 6}, {3, 2}}, columns{{10, 20}, {2}}, squares{{1}, {1}};
  ops.run(op::ColumnSums{.out_C = columns, .in_TC = in});
  EXPECT_THAT(columns.values, ElementsAre(19, 32));
  ops.run(op::SumOfSquares{.out = squares, .x_N = in});
  EXPECT_EQ(squares[0], 1 + 91);
}

}  // namespace
}  // namespace dualpath
