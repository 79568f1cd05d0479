#include "core/ops_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vector>

namespace dualpath {
namespace {

using testing::HasSubstr;

// Views of one memory, so that a test decides what overlaps.
class OpsChecks : public testing::Test {
 protected:
  Tensor at(std::size_t offset, Shape shape, DType type = DType::f32) {
    return {memory_.data() + offset, type, shape};
  }
  // Memory of its own.
  Tensor fresh(Shape shape, DType type = DType::f32) {
    next_ += 1000;
    return at(next_ - 1000, shape, type);
  }
  template <class Check>
  std::string refusal(const Check& check) {
    try {
      check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::internal);
      return error.what();
    }
    return "accepted";
  }

 private:
  std::vector<double> memory_ = std::vector<double>(20000);
  std::size_t next_ = 0;
};

TEST_F(OpsChecks, MatmulShapesFollowTheTransposes) {
  const Tensor c = fresh({2, 3}), a = fresh({2, 5}), b = fresh({5, 3});
  const Tensor a_t = fresh({5, 2}), b_t = fresh({3, 5});
  check_matmul(c, a, b, {});
  check_matmul(c, a_t, b, {.transpose_a = true});
  check_matmul(c, a, b_t, {.transpose_b = true});
  check_matmul(c, a_t, b_t, {.transpose_a = true, .transpose_b = true});
  EXPECT_EQ(refusal([&] { check_matmul(c, a, b_t, {}); }), "matmul: c must be [2, 5], is [2, 3]");
  EXPECT_EQ(refusal([&] { check_matmul(c, a_t, b_t, {.transpose_b = true}); }),
            "matmul: c must be [5, 3], is [2, 3]");
  EXPECT_EQ(refusal([&] {
              check_matmul(c, a, fresh({4, 3}), {});
            }),
            "matmul: b must be [5, 3], is [4, 3]");
}

TEST_F(OpsChecks, TypesMustAgree) {
  const Shape TD{2, 3};
  check_row_dot(fresh({2}, DType::f64), fresh(TD, DType::f64), fresh(TD, DType::f64));
  EXPECT_EQ(refusal([&] { check_row_dot(fresh({2}), fresh(TD), fresh(TD, DType::f64)); }),
            "row_dot: b must be f32, is f64");
  EXPECT_EQ(refusal([&] {
              check_embedding(fresh(TD), fresh({2}), fresh({9, 3}), {0, 9});
            }),
            "embedding: ids must be i32, is f32");
  EXPECT_EQ(refusal([&] { check_sum_of_squares(fresh({1}), fresh({7})); }),
            "sum_of_squares: out must be f64, is f32");
}

TEST_F(OpsChecks, OutputsShareNoMemoryUnlessTheContractSaysSo) {
  const Shape TD{2, 3};
  const Tensor x = fresh(TD), y = fresh(TD);
  check_residual(x, x, y, {});
  check_residual(y, x, y, {});
  // The same place shifted by one element is never right.
  const Tensor shifted = {x.as<float>() + 1, DType::f32, TD};
  EXPECT_THAT(refusal([&] { check_residual(shifted, x, y, {}); }),
              HasSubstr("x and out must not share memory"));
  EXPECT_THAT(
      refusal([&] { check_residual_rms_norm(x, fresh(TD), fresh({2}), x, y, {}, fresh({3})); }),
      HasSubstr("x and out must not share memory"));
  EXPECT_THAT(refusal([&] { check_rms_norm(x, fresh({2}), x, fresh({3})); }),
              HasSubstr("must not share memory"));
  // Two inputs may be one tensor; two outputs may not.
  check_row_dot(fresh({2}), x, x);
  EXPECT_THAT(refusal([&] {
                check_swiglu_backward(fresh({2, 6}), x, x, fresh({2, 6}));
              }),
              HasSubstr("dout and out must not share memory"));
}

TEST_F(OpsChecks, ATableHoldsRowsOfTheVocabulary) {
  const Tensor out = fresh({2, 3}), ids = fresh({2}, DType::i32), table = fresh({4, 3});
  check_embedding(out, ids, table, {5, 9});
  EXPECT_EQ(refusal([&] {
              check_embedding(out, ids, table, {6, 9});
            }),
            "embedding: rows [6, 10) of 9");
  EXPECT_EQ(refusal([&] {
              check_embedding_backward(table, ids, out, {-1, 9});
            }),
            "embedding_backward: rows [-1, 3) of 9");
}

TEST_F(OpsChecks, LogitsOfAPartOfTheVocabulary) {
  const Tensor loss = fresh({2}), logits = fresh({2, 5}), targets = fresh({2}, DType::i32);
  const Tensor stats = fresh({3, 2, 3});
  check_vocabulary_statistics(stats.row(1), logits, targets, {5, 10});
  EXPECT_EQ(refusal([&] {
              check_vocabulary_statistics(stats.row(1), logits, targets, {6, 10});
            }),
            "vocabulary_statistics: rows [6, 11) of 10");
  check_sharded_cross_entropy(loss, {}, logits, stats, targets, {5, 10});
  check_sharded_cross_entropy(loss, logits, logits, stats, targets, {5, 10});
  EXPECT_EQ(refusal([&] {
              check_sharded_cross_entropy(loss, {}, logits, fresh({3, 3, 2}), targets, {5, 10});
            }),
            "sharded_cross_entropy: stats must be [3, 2, 3], is [3, 3, 2]");
  EXPECT_THAT(refusal([&] {
                check_sharded_cross_entropy(loss, fresh({2, 5}), logits, stats, targets, {6, 10});
              }),
              HasSubstr("rows [6, 11) of 10"));
  EXPECT_THAT(refusal([&] {
                const Tensor shifted{stats.as<float>() + 1, DType::f32, {2, 5}};
                check_sharded_cross_entropy(loss, shifted, logits, stats, targets, {5, 10});
              }),
              HasSubstr("stats and dlogits must not share memory"));
}

TEST_F(OpsChecks, GateBackwardMayOverwriteDyWithDxAlone) {
  const Shape TD{2, 3};
  const Tensor dy = fresh(TD), dx = fresh(TD), dh_deep = fresh(TD), dh_wide = fresh(TD);
  const Tensor x = fresh(TD), gates = fresh({2, 2});
  const auto check = [&](Tensor dx_TD, Tensor dh_deep_TD) {
    check_gate_backward(dx_TD, dh_deep_TD, dh_wide, {}, {}, dy, {}, x, x, x, gates, {},
                        GateMode::fixed);
  };
  check(dx, dh_deep);
  check(dy, dh_deep);
  EXPECT_THAT(refusal([&] { check(dx, dy); }), HasSubstr("must not share memory"));
}

TEST_F(OpsChecks, OptionalOperandsAreThereExactlyWhenUsed) {
  const Tensor h = fresh({2, 3}), h_deep = fresh({2, 3}), weight = fresh({2});
  const Tensor q = fresh({2}), remaining = fresh({2}), w = fresh({4}), b = fresh({1});
  check_mixture_step(h_deep, weight, q, remaining, h, w, b, {LoopCombine::mixture, 0, 2});
  check_mixture_step(h_deep, weight, {}, {}, h, {}, {}, {LoopCombine::mean, 1, 2});
  EXPECT_EQ(refusal([&] {
              check_mixture_step(h_deep, weight, {}, {}, h, w, {}, {LoopCombine::final, 1, 2});
            }),
            "mixture_step: router_w has no meaning here and must be empty, is [4]");
  EXPECT_EQ(refusal([&] {
              check_mixture_step(h_deep, weight, q, remaining, h, fresh({3}), b,
                                 {LoopCombine::mixture, 0, 2});
            }),
            "mixture_step: router_w must have 4 elements, is [3]");
  EXPECT_EQ(refusal([&] {
              check_mixture_step(h_deep, weight, {}, {}, h, {}, {}, {LoopCombine::mean, 2, 2});
            }),
            "mixture_step: iteration 2 of 2");
}

TEST_F(OpsChecks, AttentionSizesMustFit) {
  const auto check = [&](AttentionShape shape) {
    const std::int64_t T = shape.tokens();
    check_attention(fresh({T, 4, 2}), fresh({T, 4}), fresh({T, 4, 2}), fresh({T, 2, 2}),
                    fresh({T, 16}), shape);
  };
  check({2, 3, 4, 2, 2});
  EXPECT_EQ(refusal([&] {
              check({2, 3, 4, 3, 2});
            }),
            "attention: 3 key/value heads do not divide 4 heads");
  EXPECT_EQ(refusal([&] { check({2, 3, 4, 2, 1}); }), "attention: head size 1 is not even");
  EXPECT_EQ(refusal([&] {
              check({2, 3, 4, 1, 2});
            }),
            "attention: k must be [6, 1, 2], is [6, 2, 2]");
  EXPECT_EQ(refusal([&] {
              check({2, 3, 4, 2, 2, 1});
            }),
            "attention: the first position must be 0, is 1");
}

TEST_F(OpsChecks, TheCacheMustHoldThePastAndTheNewTokens) {
  const auto check = [&](AttentionShape shape, std::int64_t positions) {
    const std::int64_t T = shape.tokens();
    check_cached_attention(fresh({T, 4, 2}), fresh({T, 4}), fresh({7, 2, 2}), fresh({T, 4, 2}),
                           fresh({positions, 2, 2}), fresh({T, 16}), shape);
  };
  check({1, 3, 4, 2, 2, 4}, 7);
  EXPECT_EQ(refusal([&] {
              check({1, 3, 4, 2, 2, 5}, 7);
            }),
            "cached_attention: keys has 7 positions, 8 are needed");
  EXPECT_EQ(refusal([&] {
              check({1, 3, 4, 2, 2, 4}, 8);
            }),
            "cached_attention: values must be [8, 2, 2], is [7, 2, 2]");
  EXPECT_EQ(refusal([&] {
              check({2, 3, 4, 2, 2, 0}, 7);
            }),
            "cached_attention: one sequence, not 2");
  EXPECT_EQ(refusal([&] {
              check({1, 3, 4, 2, 2, -1}, 7);
            }),
            "cached_attention: the first position is -1");
}

}  // namespace
}  // namespace dualpath
