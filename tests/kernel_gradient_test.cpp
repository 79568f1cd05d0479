// Every backward kernel of the reference against finite differences of its forward.
//
// For a loss f and step h, D(h) = (f(x+h) - f(x-h))/2h = f' + h²f'''/6 + O(h⁴), so that
// R = (4D(h/2) - D(h))/3 has lost the h² term, whose size is 4/3·|D(h) - D(h/2)|: that is the bound
// on truncation. f is a sum of terms, each the end of a chain of at most `roundings` fp64
// operations: every evaluation is off by at most roundings·ε·Σ|terms|, R by 3/h times that. The
// step h = ∛ε balances the two.
#include <cmath>
#include <functional>
#include <gtest/gtest.h>

#include "tests/array.h"
#include "tests/reference_ops/reference_ops.h"

namespace dualpath {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kRoundings = 100;

// Σ cotangent·output over the outputs of a forward pass.
struct Loss {
  double value = 0;
  double magnitude = 0;
  void add(double cotangent, double output) {
    value += cotangent * output;
    magnitude += std::abs(cotangent * output);
  }
  void add(const Array& cotangent, const Array& output) {
    for (std::int64_t i = 0; i < output.size(); ++i) add(cotangent[i], output[i]);
  }
};
using LossFunction = std::function<Loss()>;

// gradient must be ∂loss/∂x.
void expect_gradient(const char* name, Array& x, const Array& gradient, const LossFunction& loss) {
  ASSERT_EQ(x.size(), gradient.size());
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double x0 = x[i];
    const auto difference = [&](double h) {
      x[i] = x0 + h;
      const Loss above = loss();
      x[i] = x0 - h;
      const Loss below = loss();
      x[i] = x0;
      return (above.value - below.value) / (2 * h);
    };
    const double h = std::exp2(std::round(std::log2(std::cbrt(kEpsilon))));
    const double coarse = difference(h), fine = difference(h / 2);
    const double bound =
        4.0 / 3 * std::abs(coarse - fine) + 3 / h * kRoundings * kEpsilon * loss().magnitude;
    EXPECT_NEAR(gradient[i], (4 * fine - coarse) / 3, bound) << name << "[" << i << "]";
  }
}

// A gradient that a kernel adds to: it starts from anything, and only what was added counts.
class Accumulated {
 public:
  explicit Accumulated(Shape shape) : start_(uniform("start", shape)), sum_(start_) {}
  operator Tensor() { return sum_; }
  Array added() const {
    Array difference = sum_;
    for (std::int64_t i = 0; i < sum_.size(); ++i) difference[i] -= start_[i];
    return difference;
  }

 private:
  Array start_, sum_;
};

TEST(Gradient, Embedding) {
  ReferenceOps ops;
  // All of the vocabulary, and two of its rows.
  for (const auto& [rows, count] : {std::pair{VocabularyRows{0, 4}, 4}, {{1, 4}, 2}}) {
    Array table = uniform("table", {count, 3}), cotangent = uniform("dout", {5, 3});
    IdArray ids{{2, 0, 2, 3, 2}, {5}};
    Array out = poisoned({5, 3});
    Accumulated grad({count, 3});
    ops.run(
        op::EmbeddingBackward{.grad_VD = grad, .ids_T = ids, .dout_TD = cotangent, .rows = rows});
    expect_gradient("table", table, grad.added(), [&, &rows = rows] {
      ops.run(op::Embedding{.out_TD = out, .ids_T = ids, .table_VD = table, .rows = rows});
      Loss loss;
      loss.add(cotangent, out);
      return loss;
    });
  }
}

TEST(Gradient, RmsNorm) {
  ReferenceOps ops;
  Array x = uniform("x", {3, 7}), weight = uniform("weight", {7}, 0.5, 2);
  Array cotangent = uniform("dout", {3, 7});
  Array out = poisoned({3, 7}), rstd = poisoned({3});
  const double epsilon = 0.1;  // large enough for its absence to show
  const auto loss = [&] {
    ops.run(op::RmsNorm{
        .out_TD = out, .rstd_T = rstd, .x_TD = x, .weight_D = weight, .epsilon = epsilon});
    Loss sum;
    sum.add(cotangent, out);
    return sum;
  };
  loss();
  Accumulated dx({3, 7}), dweight({7});
  ops.run(op::RmsNormBackward{.dx_TD = dx,
                              .dweight_D = dweight,
                              .dout_TD = cotangent,
                              .x_TD = x,
                              .weight_D = weight,
                              .rstd_T = rstd});
  expect_gradient("x", x, dx.added(), loss);
  expect_gradient("weight", weight, dweight.added(), loss);
}

// out = x + s·(a·W): the gain's gradient comes from a and da alone.
TEST(Gradient, Residual) {
  ReferenceOps ops;
  Array x = uniform("x", {3, 4}), a = uniform("a", {3, 5}), w = uniform("w", {5, 4});
  Array cotangent = uniform("dout", {3, 4});
  Array y = poisoned({3, 4}), out = poisoned({3, 4}), dy = poisoned({3, 4}), da = poisoned({3, 5});
  for (const double raw : {-7.0, 0.3, 4.0}) {
    Array gain = constant({1}, raw);
    for (const bool scaled : {true, false}) {
      const Tensor s = scaled ? gain.tensor() : Tensor{};
      const auto loss_of_y = [&] {
        ops.run(op::Residual{.out_TD = out, .x_TD = x, .y_TD = y, .gain = s});
        Loss sum;
        sum.add(cotangent, out);
        return sum;
      };
      const auto loss = [&] {
        ops.run(op::Matmul{.c = y, .a = a, .b = w});
        return loss_of_y();
      };
      loss();
      ops.run(op::ResidualBackward{.dy_TD = dy, .dout_TD = cotangent, .gain = s});
      expect_gradient("y", y, dy, loss_of_y);
      if (!scaled) continue;
      ops.run(op::Matmul{.c = da, .a = dy, .b = w, .flags = {.transpose_b = true}});
      Accumulated dgain({1});
      ops.run(op::ResidualGainBackward{.dgain = dgain, .da = da, .a = a, .gain = gain});
      expect_gradient("gain", gain, dgain.added(), loss);
    }
  }
}

struct Heads {
  std::int64_t heads, kv_heads;
};
constexpr Heads kHeads[] = {{2, 2}, {4, 2}, {3, 1}};

TEST(Gradient, QkRope) {
  ReferenceOps ops;
  for (const Heads& heads : kHeads) {
    for (const QkNorm norm : {QkNorm::after_rope, QkNorm::before_rope, QkNorm::none}) {
      const AttentionShape shape{2, 3, heads.heads, heads.kv_heads, 4};
      const std::int64_t T = shape.tokens(), H = shape.heads, G = shape.kv_heads, E = 4;
      const std::int64_t C = (H + 2 * G) * E;
      Array qkv = uniform("qkv", {T, C});
      // Angles that are no rotation: the kernel must not take cos² + sin² = 1 for granted.
      Array cos = uniform("cos", {4, E / 2}), sin = uniform("sin", {4, E / 2});
      Array q_weight = uniform("q_weight", {E}), k_weight = uniform("k_weight", {E});
      Array q = poisoned({T, H, E}), k = poisoned({T, G, E}), rstd = poisoned({T, H + G});
      Array dq = uniform("dq", {T, H, E}), dk = uniform("dk", {T, G, E});
      Accumulated dq_weight({E}), dk_weight({E});
      const bool has_norm = norm != QkNorm::none;
      const auto if_norm = [&](auto& array) { return has_norm ? Tensor(array) : Tensor{}; };
      const auto loss = [&] {
        ops.run(op::QkRope{.q_THE = q,
                           .k_TGE = k,
                           .rstd_TN = if_norm(rstd),
                           .qkv_TC = qkv,
                           .q_weight_E = if_norm(q_weight),
                           .k_weight_E = if_norm(k_weight),
                           .cos_PR = cos,
                           .sin_PR = sin,
                           .shape = shape,
                           .norm = norm,
                           .epsilon = 0.1});
        Loss sum;
        sum.add(dq, q);
        sum.add(dk, k);
        return sum;
      };
      loss();
      Array dqkv = constant({T, C}, 0);  // the value columns stay 0, as does their gradient
      ops.run(op::QkRopeBackward{.dqkv_TC = dqkv,
                                 .dq_weight_E = if_norm(dq_weight),
                                 .dk_weight_E = if_norm(dk_weight),
                                 .dq_THE = dq,
                                 .dk_TGE = dk,
                                 .rstd_TN = if_norm(rstd),
                                 .qkv_TC = qkv,
                                 .q_weight_E = if_norm(q_weight),
                                 .k_weight_E = if_norm(k_weight),
                                 .cos_PR = cos,
                                 .sin_PR = sin,
                                 .shape = shape,
                                 .norm = norm});
      expect_gradient("qkv", qkv, dqkv, loss);
      if (!has_norm) continue;
      expect_gradient("q_weight", q_weight, dq_weight.added(), loss);
      expect_gradient("k_weight", k_weight, dk_weight.added(), loss);
    }
  }
}

TEST(Gradient, Attention) {
  ReferenceOps ops;
  for (const Heads& heads : kHeads) {
    const AttentionShape shape{2, 4, heads.heads, heads.kv_heads, 2};
    const std::int64_t T = shape.tokens(), H = shape.heads, G = shape.kv_heads, E = 2;
    const std::int64_t C = (H + 2 * G) * E;
    Array q = uniform("q", {T, H, E}, -2, 2), k = uniform("k", {T, G, E}, -2, 2);
    Array qkv = uniform("qkv", {T, C}), cotangent = uniform("dout", {T, H, E});
    Array out = poisoned({T, H, E}), log_sum = poisoned({T, H});
    const auto loss = [&] {
      ops.run(op::Attention{.out_THE = out,
                            .log_sum_TH = log_sum,
                            .q_THE = q,
                            .k_TGE = k,
                            .qkv_TC = qkv,
                            .shape = shape});
      Loss sum;
      sum.add(cotangent, out);
      return sum;
    };
    loss();
    Array dq = poisoned({T, H, E}), dk = poisoned({T, G, E});
    Array dqkv = constant({T, C}, 0);  // its query and key columns stay 0: they are not read
    ops.run(op::AttentionBackward{.dq_THE = dq,
                                  .dk_TGE = dk,
                                  .dqkv_TC = dqkv,
                                  .dout_THE = cotangent,
                                  .out_THE = out,
                                  .log_sum_TH = log_sum,
                                  .q_THE = q,
                                  .k_TGE = k,
                                  .qkv_TC = qkv,
                                  .shape = shape});
    expect_gradient("q", q, dq, loss);
    expect_gradient("k", k, dk, loss);
    expect_gradient("qkv", qkv, dqkv, loss);
  }
}

TEST(Gradient, SwiGlu) {
  ReferenceOps ops;
  Array gate_up = uniform("gate_up", {3, 10}, -4, 4), cotangent = uniform("dout", {3, 5});
  Array out = poisoned({3, 5}), again = poisoned({3, 5}), dgate_up = gate_up;
  ops.run(op::SwiGluBackward{.dgate_up_T2F = dgate_up,
                             .out_TF = again,
                             .dout_TF = cotangent,
                             .gate_up_T2F = dgate_up});  // in place
  ops.run(op::SwiGlu{.out_TF = out, .gate_up_T2F = gate_up});
  EXPECT_EQ(again.values, out.values);
  expect_gradient("gate_up", gate_up, dgate_up, [&] {
    ops.run(op::SwiGlu{.out_TF = out, .gate_up_T2F = gate_up});
    Loss sum;
    sum.add(cotangent, out);
    return sum;
  });
}

// The whole loop: h_deep from the K states, with a ponder term on the expected iterations.
TEST(Gradient, Mixture) {
  ReferenceOps ops;
  constexpr std::int64_t T = 3, D = 4;
  const double ponder_scale = 0.7;
  for (const LoopCombine combine : {LoopCombine::mixture, LoopCombine::final, LoopCombine::mean}) {
    for (const std::int64_t K : {1, 2, 4}) {
      const bool mixture = combine == LoopCombine::mixture;
      Array states = uniform("states", {K, T, D}), router_w = uniform("router_w", {D + 1});
      Array router_b = uniform("router_b", {1}), cotangent = uniform("dh_deep", {T, D});
      Array h_deep = poisoned({T, D}), weight = poisoned({K, T}), q = poisoned({K, T});
      Array remaining = poisoned({T}), expected = poisoned({T});
      const auto if_mixture = [&](Tensor tensor) { return mixture ? tensor : Tensor{}; };
      const auto loss = [&] {
        for (std::int64_t k = 0; k < K; ++k) {
          ops.run(op::MixtureStep{.h_deep_TD = h_deep,
                                  .weight_T = weight.tensor().row(k),
                                  .q_T = if_mixture(q.tensor().row(k)),
                                  .remaining_T = if_mixture(remaining),
                                  .h_TD = states.tensor().row(k),
                                  .router_w = if_mixture(router_w),
                                  .router_b = if_mixture(router_b),
                                  .step = {combine, k, K}});
        }
        ops.run(op::ExpectedIterations{.out_T = expected, .weight_KT = weight});
        Loss sum;
        sum.add(cotangent, h_deep);
        for (std::int64_t t = 0; t < T; ++t) sum.add(ponder_scale, expected[t]);
        return sum;
      };
      loss();
      Array c = poisoned({K, T}), dlogit = poisoned({K, T});
      Accumulated dstates({K, T, D}), drouter_w({D + 1}), drouter_b({1});
      for (std::int64_t k = 0; k < K; ++k) {
        ops.run(op::RowDot{
            .out_T = c.tensor().row(k), .a_TD = cotangent, .b_TD = states.tensor().row(k)});
      }
      ops.run(op::MixtureWeightsBackward{
          .dlogit_KT = dlogit, .c_KT = c, .q_KT = q, .ponder_scale = ponder_scale});
      for (std::int64_t k = K - 1; k >= 0; --k) {
        ops.run(op::MixtureStepBackward{.dh_TD = Tensor(dstates).row(k),
                                        .drouter_w = if_mixture(drouter_w),
                                        .drouter_b = if_mixture(drouter_b),
                                        .dh_deep_TD = cotangent,
                                        .h_TD = states.tensor().row(k),
                                        .weight_T = weight.tensor().row(k),
                                        .dlogit_T = if_mixture(dlogit.tensor().row(k)),
                                        .router_w = if_mixture(router_w),
                                        .step = {combine, k, K}});
      }
      expect_gradient("states", states, dstates.added(), loss);
      if (!mixture) continue;
      expect_gradient("router_w", router_w, drouter_w.added(), loss);
      expect_gradient("router_b", router_b, drouter_b.added(), loss);
    }
  }
}

// y and the regularisers of the gates, with both of their gradients.
void expect_gate_gradients(GateMode mode, GateTarget target, bool regularized) {
  ReferenceOps ops;
  constexpr std::int64_t T = 6, D = 4, positions = 3;
  const double entropy_scale = 0.6, balance_scale = 5;
  const std::int64_t N = gate_logits(mode);
  Array x = uniform("x", {T, D}), h_deep = uniform("h_deep", {T, D}),
        h_wide = uniform("h_wide", {T, D}), weight = uniform("weight", {N, D}),
        bias = uniform("bias", {N}), cotangent = uniform("dy", {T, D});
  Array y = poisoned({T, D}), gates = poisoned({T, 2}), dgates = poisoned({T, 2}), losses;
  const auto if_learned = [&](auto& array) { return N > 0 ? Tensor(array) : Tensor{}; };
  const auto loss = [&] {
    losses = constant({2}, 0);
    ops.run(op::Gate{.y_TD = y,
                     .gates_T2 = gates,
                     .x_TD = x,
                     .h_deep_TD = h_deep,
                     .h_wide_TD = h_wide,
                     .weight_ND = if_learned(weight),
                     .bias_N = if_learned(bias),
                     .mode = mode,
                     .target = target});
    Loss sum;
    sum.add(cotangent, y);
    if (regularized) {
      ops.run(op::GateRegularizer{.dgates_T2 = dgates,
                                  .losses_2 = losses,
                                  .gates_T2 = gates,
                                  .positions = positions,
                                  .entropy_scale = entropy_scale,
                                  .balance_scale = balance_scale});
      sum.add(entropy_scale, losses[0]);
      sum.add(balance_scale, losses[1]);
    }
    return sum;
  };
  loss();
  Array dx = cotangent;  // in place of dy
  Array dh_deep = poisoned({T, D}), dh_wide = poisoned({T, D});
  Accumulated dweight({N, D}), dbias({N});
  ops.run(op::GateBackward{.dx_TD = dx,
                           .dh_deep_TD = dh_deep,
                           .dh_wide_TD = dh_wide,
                           .dweight_ND = if_learned(dweight),
                           .dbias_N = if_learned(dbias),
                           .dy_TD = dx,
                           .dgates_T2 = regularized ? Tensor(dgates) : Tensor{},
                           .x_TD = x,
                           .h_deep_TD = h_deep,
                           .h_wide_TD = h_wide,
                           .gates_T2 = gates,
                           .weight_ND = if_learned(weight),
                           .mode = mode,
                           .target = target});
  expect_gradient("x", x, dx, loss);
  expect_gradient("h_deep", h_deep, dh_deep, loss);
  expect_gradient("h_wide", h_wide, dh_wide, loss);
  if (N == 0) return;
  expect_gradient("weight", weight, dweight.added(), loss);
  expect_gradient("bias", bias, dbias.added(), loss);
}

TEST(Gradient, Gate) {
  for (const GateMode mode :
       {GateMode::two_sigmoid, GateMode::convex, GateMode::softmax, GateMode::fixed}) {
    for (const GateTarget target : {GateTarget::states, GateTarget::updates}) {
      for (const bool regularized : {false, true}) expect_gate_gradients(mode, target, regularized);
    }
  }
}

TEST(Gradient, GateRegularizer) {
  ReferenceOps ops;
  for (const auto& scales : {std::pair{1.0, 0.0}, {0.0, 1.0}, {2.0, 3.0}}) {
    const double entropy_scale = scales.first, balance_scale = scales.second;
    Array gates = uniform("gates", {6, 2}, 0.05, 0.95);
    Array dgates = poisoned({6, 2}), unused = poisoned({6, 2});
    Accumulated ignored({2});
    ops.run(op::GateRegularizer{.dgates_T2 = dgates,
                                .losses_2 = ignored,
                                .gates_T2 = gates,
                                .positions = 2,
                                .entropy_scale = entropy_scale,
                                .balance_scale = balance_scale});
    expect_gradient("gates", gates, dgates, [&] {
      Array losses = constant({2}, 0);
      ops.run(op::GateRegularizer{.dgates_T2 = unused,
                                  .losses_2 = losses,
                                  .gates_T2 = gates,
                                  .positions = 2,
                                  .entropy_scale = entropy_scale,
                                  .balance_scale = balance_scale});
      Loss sum;
      sum.add(entropy_scale, losses[0]);
      sum.add(balance_scale, losses[1]);
      return sum;
    });
  }
}

TEST(Gradient, CrossEntropy) {
  ReferenceOps ops;
  const double scale = 0.25;
  Array logits = uniform("logits", {4, 5}, -3, 3), loss_T = poisoned({4});
  IdArray targets{{0, -1, 4, 2}, {4}};
  Array dlogits = logits;
  ops.run(op::CrossEntropy{.loss_T = loss_T,
                           .dlogits_TV = dlogits,
                           .logits_TV = dlogits,
                           .targets_T = targets,
                           .grad_scale = scale});
  expect_gradient("logits", logits, dlogits, [&] {
    ops.run(op::CrossEntropy{
        .loss_T = loss_T, .logits_TV = logits, .targets_T = targets, .grad_scale = 0});
    Loss sum;
    for (std::int64_t t = 0; t < 4; ++t) sum.add(scale, loss_T[t]);
    return sum;
  });
}

// Logits of 6 rows of a vocabulary in parts of 3, 1 and 2.
TEST(Gradient, ShardedCrossEntropy) {
  ReferenceOps ops;
  constexpr std::int64_t T = 4, V = 6;
  constexpr std::int64_t cuts[] = {0, 3, 4, 6}, parts = std::size(cuts) - 1;
  const double scale = 0.25;
  std::vector<Array> logits;
  for (std::int64_t r = 0; r < parts; ++r)
    logits.push_back(uniform("logits " + std::to_string(r), {T, cuts[r + 1] - cuts[r]}, -3, 3));
  IdArray targets{{0, -1, 3, 5}, {T}};
  Array stats = poisoned({parts, T, 3}), loss_T = poisoned({T});

  const auto gather = [&] {
    for (std::int64_t r = 0; r < parts; ++r)
      ops.run(op::VocabularyStatistics{.stats_T3 = stats.tensor().row(r),
                                       .logits_TV = logits[r],
                                       .targets_T = targets,
                                       .rows = {cuts[r], V}});
  };
  for (std::int64_t r = 0; r < parts; ++r) {
    gather();
    Array dlogits = logits[r];
    ops.run(op::ShardedCrossEntropy{.loss_T = loss_T,
                                    .dlogits_TV = dlogits,
                                    .logits_TV = dlogits,
                                    .stats_RT3 = stats,
                                    .targets_T = targets,
                                    .rows = {cuts[r], V},
                                    .grad_scale = scale});
    expect_gradient("logits", logits[r], dlogits, [&] {
      gather();
      ops.run(op::ShardedCrossEntropy{.loss_T = loss_T,
                                      .logits_TV = logits[r],
                                      .stats_RT3 = stats,
                                      .targets_T = targets,
                                      .rows = {cuts[r], V},
                                      .grad_scale = 0});
      Loss sum;
      for (std::int64_t t = 0; t < T; ++t) sum.add(scale, loss_T[t]);
      return sum;
    });
  }

  // The loss of the whole vocabulary: the same terms, summed in another order.
  Array whole = poisoned({T, V}), whole_loss = poisoned({T});
  for (std::int64_t r = 0; r < parts; ++r)
    for (std::int64_t t = 0; t < T; ++t)
      for (std::int64_t v = cuts[r]; v < cuts[r + 1]; ++v)
        whole[t * V + v] = logits[r][t * (cuts[r + 1] - cuts[r]) + v - cuts[r]];
  ops.run(op::CrossEntropy{
      .loss_T = whole_loss, .logits_TV = whole, .targets_T = targets, .grad_scale = 0});
  for (std::int64_t t = 0; t < T; ++t)
    EXPECT_NEAR(loss_T[t], whole_loss[t], kRoundings * kEpsilon) << t;
}

}  // namespace
}  // namespace dualpath
