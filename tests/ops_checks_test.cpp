#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vector>

#include "core/ops/check.h"

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
  check(op::Matmul{.c = c, .a = a, .b = b});
  check(op::Matmul{.c = c, .a = a_t, .b = b, .flags = {.transpose_a = true}});
  check(op::Matmul{.c = c, .a = a, .b = b_t, .flags = {.transpose_b = true}});
  check(
      op::Matmul{.c = c, .a = a_t, .b = b_t, .flags = {.transpose_a = true, .transpose_b = true}});
  EXPECT_EQ(refusal([&] { check(op::Matmul{.c = c, .a = a, .b = b_t}); }),
            "matmul: c must be [2, 5], is [2, 3]");
  EXPECT_EQ(refusal([&] {
              check(op::Matmul{.c = c, .a = a_t, .b = b_t, .flags = {.transpose_b = true}});
            }),
            "matmul: c must be [5, 3], is [2, 3]");
  EXPECT_EQ(refusal([&] {
              check(op::Matmul{.c = c, .a = a, .b = fresh({4, 3})});
            }),
            "matmul: b must be [5, 3], is [4, 3]");
}

TEST_F(OpsChecks, TypesMustAgree) {
  const Shape TD{2, 3};
  check(op::RowDot{.out_T = fresh({2}, DType::f64),
                   .a_TD = fresh(TD, DType::f64),
                   .b_TD = fresh(TD, DType::f64)});
  EXPECT_EQ(
      refusal([&] {
        check(op::RowDot{.out_T = fresh({2}), .a_TD = fresh(TD), .b_TD = fresh(TD, DType::f64)});
      }),
      "row_dot: b must be f32, is f64");
  EXPECT_EQ(
      refusal([&] {
        check(op::Embedding{
            .out_TD = fresh(TD), .ids_T = fresh({2}), .table_VD = fresh({9, 3}), .rows = {0, 9}});
      }),
      "embedding: ids must be i32, is f32");
  EXPECT_EQ(refusal([&] { check(op::SumOfSquares{.out = fresh({1}), .x_N = fresh({7})}); }),
            "sum_of_squares: out must be f64, is f32");
}

TEST_F(OpsChecks, OutputsShareNoMemoryUnlessTheContractSaysSo) {
  const Shape TD{2, 3};
  const Tensor x = fresh(TD), y = fresh(TD);
  check(op::Residual{.out_TD = x, .x_TD = x, .y_TD = y});
  check(op::Residual{.out_TD = y, .x_TD = x, .y_TD = y});
  // The same place shifted by one element is never right.
  const Tensor shifted = {x.as<float>() + 1, DType::f32, TD};
  EXPECT_THAT(refusal([&] { check(op::Residual{.out_TD = shifted, .x_TD = x, .y_TD = y}); }),
              HasSubstr("x and out must not share memory"));
  EXPECT_THAT(refusal([&] {
                check(op::ResidualRmsNorm{.out_TD = x,
                                          .normed_TD = fresh(TD),
                                          .rstd_T = fresh({2}),
                                          .x_TD = x,
                                          .y_TD = y,
                                          .weight_D = fresh({3}),
                                          .epsilon = 1e-5});
              }),
              HasSubstr("x and out must not share memory"));
  EXPECT_THAT(
      refusal([&] {
        check(op::RmsNorm{
            .out_TD = x, .rstd_T = fresh({2}), .x_TD = x, .weight_D = fresh({3}), .epsilon = 1e-5});
      }),
      HasSubstr("must not share memory"));
  // Two inputs may be one tensor; two outputs may not.
  check(op::RowDot{.out_T = fresh({2}), .a_TD = x, .b_TD = x});
  EXPECT_THAT(refusal([&] {
                check(op::SwiGluBackward{.dgate_up_T2F = fresh({2, 6}),
                                         .out_TF = x,
                                         .dout_TF = x,
                                         .gate_up_T2F = fresh({2, 6})});
              }),
              HasSubstr("dout and out must not share memory"));
}

TEST_F(OpsChecks, ATableHoldsRowsOfTheVocabulary) {
  const Tensor out = fresh({2, 3}), ids = fresh({2}, DType::i32), table = fresh({4, 3});
  check(op::Embedding{.out_TD = out, .ids_T = ids, .table_VD = table, .rows = {5, 9}});
  EXPECT_EQ(refusal([&] {
              check(op::Embedding{.out_TD = out, .ids_T = ids, .table_VD = table, .rows = {6, 9}});
            }),
            "embedding: rows [6, 10) of 9");
  EXPECT_EQ(refusal([&] {
              check(op::EmbeddingBackward{
                  .grad_VD = table, .ids_T = ids, .dout_TD = out, .rows = {-1, 9}});
            }),
            "embedding_backward: rows [-1, 3) of 9");
}

TEST_F(OpsChecks, LogitsOfAPartOfTheVocabulary) {
  const Tensor loss = fresh({2}), logits = fresh({2, 5}), targets = fresh({2}, DType::i32);
  const Tensor stats = fresh({3, 2, 3});
  check(op::VocabularyStatistics{
      .stats_T3 = stats.row(1), .logits_TV = logits, .targets_T = targets, .rows = {5, 10}});
  EXPECT_EQ(
      refusal([&] {
        check(op::VocabularyStatistics{
            .stats_T3 = stats.row(1), .logits_TV = logits, .targets_T = targets, .rows = {6, 10}});
      }),
      "vocabulary_statistics: rows [6, 11) of 10");
  check(op::ShardedCrossEntropy{.loss_T = loss,
                                .logits_TV = logits,
                                .stats_RT3 = stats,
                                .targets_T = targets,
                                .rows = {5, 10},
                                .grad_scale = 1});
  check(op::ShardedCrossEntropy{.loss_T = loss,
                                .dlogits_TV = logits,
                                .logits_TV = logits,
                                .stats_RT3 = stats,
                                .targets_T = targets,
                                .rows = {5, 10},
                                .grad_scale = 1});
  EXPECT_EQ(refusal([&] {
              check(op::ShardedCrossEntropy{.loss_T = loss,
                                            .logits_TV = logits,
                                            .stats_RT3 = fresh({3, 3, 2}),
                                            .targets_T = targets,
                                            .rows = {5, 10},
                                            .grad_scale = 1});
            }),
            "sharded_cross_entropy: stats must be [3, 2, 3], is [3, 3, 2]");
  EXPECT_THAT(refusal([&] {
                check(op::ShardedCrossEntropy{.loss_T = loss,
                                              .dlogits_TV = fresh({2, 5}),
                                              .logits_TV = logits,
                                              .stats_RT3 = stats,
                                              .targets_T = targets,
                                              .rows = {6, 10},
                                              .grad_scale = 1});
              }),
              HasSubstr("rows [6, 11) of 10"));
  EXPECT_THAT(refusal([&] {
                const Tensor shifted{stats.as<float>() + 1, DType::f32, {2, 5}};
                check(op::ShardedCrossEntropy{.loss_T = loss,
                                              .dlogits_TV = shifted,
                                              .logits_TV = logits,
                                              .stats_RT3 = stats,
                                              .targets_T = targets,
                                              .rows = {5, 10},
                                              .grad_scale = 1});
              }),
              HasSubstr("stats and dlogits must not share memory"));
}

TEST_F(OpsChecks, GateBackwardMayOverwriteDyWithDxAlone) {
  const Shape TD{2, 3};
  const Tensor dy = fresh(TD), dx = fresh(TD), dh_deep = fresh(TD), dh_wide = fresh(TD);
  const Tensor x = fresh(TD), gates = fresh({2, 2});
  const auto check_call = [&](Tensor dx_TD, Tensor dh_deep_TD) {
    check(op::GateBackward{.dx_TD = dx_TD,
                           .dh_deep_TD = dh_deep_TD,
                           .dh_wide_TD = dh_wide,
                           .dy_TD = dy,
                           .x_TD = x,
                           .h_deep_TD = x,
                           .h_wide_TD = x,
                           .gates_T2 = gates,
                           .mode = GateMode::fixed,
                           .target = GateTarget::states});
  };
  check_call(dx, dh_deep);
  check_call(dy, dh_deep);
  EXPECT_THAT(refusal([&] { check_call(dx, dy); }), HasSubstr("must not share memory"));
}

TEST_F(OpsChecks, OptionalOperandsAreThereExactlyWhenUsed) {
  const Tensor h = fresh({2, 3}), h_deep = fresh({2, 3}), weight = fresh({2});
  const Tensor q = fresh({2}), remaining = fresh({2}), w = fresh({4}), b = fresh({1});
  check(op::MixtureStep{.h_deep_TD = h_deep,
                        .weight_T = weight,
                        .q_T = q,
                        .remaining_T = remaining,
                        .h_TD = h,
                        .router_w = w,
                        .router_b = b,
                        .step = {LoopCombine::mixture, 0, 2}});
  check(op::MixtureStep{
      .h_deep_TD = h_deep, .weight_T = weight, .h_TD = h, .step = {LoopCombine::mean, 1, 2}});
  EXPECT_EQ(refusal([&] {
              check(op::MixtureStep{.h_deep_TD = h_deep,
                                    .weight_T = weight,
                                    .h_TD = h,
                                    .router_w = w,
                                    .step = {LoopCombine::final, 1, 2}});
            }),
            "mixture_step: router_w has no meaning here and must be empty, is [4]");
  EXPECT_EQ(refusal([&] {
              check(op::MixtureStep{.h_deep_TD = h_deep,
                                    .weight_T = weight,
                                    .q_T = q,
                                    .remaining_T = remaining,
                                    .h_TD = h,
                                    .router_w = fresh({3}),
                                    .router_b = b,
                                    .step = {LoopCombine::mixture, 0, 2}});
            }),
            "mixture_step: router_w must have 4 elements, is [3]");
  EXPECT_EQ(
      refusal([&] {
        check(op::MixtureStep{
            .h_deep_TD = h_deep, .weight_T = weight, .h_TD = h, .step = {LoopCombine::mean, 2, 2}});
      }),
      "mixture_step: iteration 2 of 2");
}

TEST_F(OpsChecks, AttentionSizesMustFit) {
  const auto check_call = [&](AttentionShape shape) {
    const std::int64_t T = shape.tokens();
    check(op::Attention{.out_THE = fresh({T, 4, 2}),
                        .log_sum_TH = fresh({T, 4}),
                        .q_THE = fresh({T, 4, 2}),
                        .k_TGE = fresh({T, 2, 2}),
                        .qkv_TC = fresh({T, 16}),
                        .shape = shape});
  };
  check_call({2, 3, 4, 2, 2});
  EXPECT_EQ(refusal([&] {
              check_call({2, 3, 4, 3, 2});
            }),
            "attention: 3 key/value heads do not divide 4 heads");
  EXPECT_EQ(refusal([&] { check_call({2, 3, 4, 2, 1}); }), "attention: head size 1 is not even");
  EXPECT_EQ(refusal([&] {
              check_call({2, 3, 4, 1, 2});
            }),
            "attention: k must be [6, 1, 2], is [6, 2, 2]");
  EXPECT_EQ(refusal([&] {
              check_call({2, 3, 4, 2, 2, 1});
            }),
            "attention: the first position must be 0, is 1");
}

TEST_F(OpsChecks, TheCacheMustHoldThePastAndTheNewTokens) {
  const auto check_call = [&](AttentionShape shape, std::int64_t positions) {
    const std::int64_t T = shape.tokens();
    check(op::CachedAttention{.out_THE = fresh({T, 4, 2}),
                              .log_sum_TH = fresh({T, 4}),
                              .values_PGE = fresh({7, 2, 2}),
                              .q_THE = fresh({T, 4, 2}),
                              .keys_PGE = fresh({positions, 2, 2}),
                              .qkv_TC = fresh({T, 16}),
                              .shape = shape});
  };
  check_call({1, 3, 4, 2, 2, 4}, 7);
  EXPECT_EQ(refusal([&] {
              check_call({1, 3, 4, 2, 2, 5}, 7);
            }),
            "cached_attention: keys has 7 positions, 8 are needed");
  EXPECT_EQ(refusal([&] {
              check_call({1, 3, 4, 2, 2, 4}, 8);
            }),
            "cached_attention: values must be [8, 2, 2], is [7, 2, 2]");
  EXPECT_EQ(refusal([&] {
              check_call({2, 3, 4, 2, 2, 0}, 7);
            }),
            "cached_attention: one sequence, not 2");
  EXPECT_EQ(refusal([&] {
              check_call({1, 3, 4, 2, 2, -1}, 7);
            }),
            "cached_attention: the first position is -1");
}

TEST_F(OpsChecks, SegmentsAreATableOfThreeColumns) {
  Tensor segments = fresh({2, 3}, DType::i32);
  const auto check_call = [&](AttentionShape shape, std::int64_t longest) {
    const std::int64_t T = shape.tokens();
    check(op::SegmentAttention{.out_THE = fresh({T, 4, 2}),
                               .q_THE = fresh({T, 4, 2}),
                               .k_TGE = fresh({T, 2, 2}),
                               .qkv_TC = fresh({T, 16}),
                               .segments_S3 = segments,
                               .shape = shape,
                               .longest_segment = longest,
                               .pairs = 1});
  };
  check_call({1, 7, 4, 2, 2}, 4);
  EXPECT_EQ(refusal([&] {
              check_call({1, 7, 4, 2, 2}, 8);
            }),
            "segment_attention: the longest segment has 8 of 7 rows");
  EXPECT_EQ(refusal([&] {
              check_call({7, 1, 4, 2, 2}, 1);
            }),
            "segment_attention: one sequence, not 7");
  segments = fresh({2, 4}, DType::i32);
  EXPECT_EQ(refusal([&] {
              check_call({1, 7, 4, 2, 2}, 4);
            }),
            "segment_attention: segments must be [2, 3], is [2, 4]");
}

}  // namespace
}  // namespace dualpath
