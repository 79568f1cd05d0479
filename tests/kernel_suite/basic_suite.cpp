// Movement, embedding, matrix product, norms, residual, loss and optimizer.
#include <cmath>

#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

TEST_P(KernelSuite, MovementIsExact) {
  for (const std::int64_t n : {1, 7, 1000, 4097}) {
    EXPECT_TRUE(agrees_exactly([n](Ops& ops, Operands& x) {
      ops.run(op::Fill{.out = x.output(stream("filled"), {n}), .value = -0.375});
      ops.run(op::Copy{.out = x.output(stream("copied"), {n}), .in = x.input(stream("in"), {n})});
      ops.run(op::Copy{.out = x.output("reshaped", {n, 1}), .in = x.input("flat", {n})});
      ops.run(op::Copy{.out = x.output(operand("rounded"), {n}), .in = x.input("to round", {n})});
      // Sums of small whole numbers are exact.
      const Tensor a = x.whole_numbers(stream("a"), {n}, -60, 61),
                   b = x.whole_numbers(stream("b"), {n}, -60, 61);
      const Tensor total = x.output(stream("total"), {n}),
                   in_place = x.output(stream("in place"), {n});
      ops.run(op::Sum{.out = total, .a = a, .b = b});
      ops.run(op::Add{.out = total, .in = a});
      ops.run(op::Copy{.out = in_place, .in = a});
      ops.run(op::Sum{.out = in_place, .a = in_place, .b = b});
      ops.run(op::Sum{.out = in_place, .a = b, .b = in_place});
    })) << n;
  }
  EXPECT_TRUE(agrees([](Ops& ops, Operands& x) {
    ops.run(op::Fill{.out = x.output(stream("filled"), {33}), .value = 0.1});
    ops.run(
        op::Add{.out = x.inout(stream("added"), {33, 7}), .in = x.input(stream("in"), {33, 7})});
    ops.run(op::Sum{.out = x.output(stream("sum"), {33, 7}),
                    .a = x.input(stream("a"), {33, 7}),
                    .b = x.input(stream("b"), {33, 7})});
  }));
}

// Parts of a vocabulary of 13: all of it, one row, uneven parts, and none of the ids' rows.
struct Part {
  VocabularyRows rows;
  std::int64_t count;
};
constexpr Part kParts[] = {{{0, 13}, 13}, {{0, 13}, 4}, {{4, 13}, 5}, {{12, 13}, 1}, {{13, 99}, 7}};

TEST_P(KernelSuite, EmbeddingIsExact) {
  const auto expect_exact = [&](std::int64_t ids, Part part) {
    for (const RowShape& shape : kRowShapes) {
      const std::int64_t T = shape.tokens, D = shape.width;
      EXPECT_TRUE(agrees_exactly([=](Ops& ops, Operands& x) {
        ops.run(op::Embedding{.out_TD = x.output(stream("out"), {T, D}),
                              .ids_T = x.ids("ids", {T}, 0, ids),
                              .table_VD = x.input("table", {part.count, D}),
                              .rows = part.rows});
      })) << part.rows.first
          << '+' << part.count << ' ' << T << ' ' << D;
    }
  };
  for (const std::int64_t V : {1, 5, 1000}) expect_exact(V, {{0, V}, V});
  for (const Part& part : kParts) expect_exact(13, part);
}

TEST_P(KernelSuite, EmbeddingBackward) {
  const auto expect_agreement = [&](std::int64_t ids, Part part) {
    for (const RowShape& shape : kRowShapes) {
      const std::int64_t T = shape.tokens, D = shape.width;
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        ops.run(op::EmbeddingBackward{.grad_VD = x.inout("grad", {part.count, D}),
                                      .ids_T = x.ids("ids", {T}, 0, ids),
                                      .dout_TD = x.input(stream("dout"), {T, D}),
                                      .rows = part.rows});
      })) << part.rows.first
          << '+' << part.count << ' ' << T << ' ' << D;
    }
  };
  for (const std::int64_t V : {1, 5, 1000}) expect_agreement(V, {{0, V}, V});
  for (const Part& part : kParts) expect_agreement(13, part);
}

TEST_P(KernelSuite, Matmul) {
  struct Sizes {
    std::int64_t rows, cols, inner;
  };
  for (const auto& [m, n, k] : {Sizes{1, 1, 1},
                                {5, 7, 3},
                                {1, 130, 64},
                                {64, 1, 33},
                                {33, 64, 130},
                                {65, 130, 300},
                                {300, 70, 50}}) {
    for (int flags = 0; flags < 8; ++flags) {
      const bool ta = flags & 1, tb = flags & 2, accumulate = flags & 4;
      const Shape a = ta ? Shape{k, m} : Shape{m, k}, b = tb ? Shape{n, k} : Shape{k, n};
      const Shape c{m, n};
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        ops.run(op::Matmul{.c = accumulate ? x.inout("c", c) : x.output("c", c),
                           .a = x.input(operand("a"), a),
                           .b = x.input(operand("b"), b),
                           .flags = {ta, tb, accumulate}});
      })) << c.str()
          << " flags " << flags;
      EXPECT_TRUE(agrees_exactly([=](Ops& ops, Operands& x) {
        const Tensor out = x.output("c", c);
        ops.run(op::Matmul{.c = out,
                           .a = x.whole_numbers(operand("a"), a, -9, 10),
                           .b = x.whole_numbers(operand("b"), b, -9, 10),
                           .flags = {ta, tb}});
        if (accumulate) {
          ops.run(op::Matmul{.c = out,
                             .a = x.whole_numbers(operand("a2"), a, -9, 10),
                             .b = x.whole_numbers(operand("b2"), b, -9, 10),
                             .flags = {ta, tb, true}});
        }
      })) << c.str()
          << " flags " << flags << ", whole numbers";
    }
  }
}

// A held weight is multiplied with several times; what is no weight, and a weight that is changed
// after its release, is read anew.
TEST_P(KernelSuite, PackedWeightsScope) {
  for (const std::int64_t m : {3, 300}) {
    for (const bool tb : {false, true}) {
      const std::int64_t k = 300, n = 70;
      const Shape weight_shape = tb ? Shape{n, k} : Shape{k, n};
      EXPECT_TRUE(agrees_exactly([=](Ops& ops, Operands& x) {
        const Tensor weight = x.whole_numbers(operand("weight"), weight_shape, -9, 10);
        const Tensor other = x.whole_numbers(operand("other"), weight_shape, -9, 10);
        const Tensor a = x.whole_numbers(operand("a"), {m, k}, -9, 10);
        const Tensor a2 = x.whole_numbers(operand("a2"), {m, k}, -9, 10);
        const Tensor changing = x.whole_numbers(operand("changing"), {m, n}, -9, 10);
        const Tensor changed = x.whole_numbers(operand("changed"), {m, n}, -9, 10);
        {
          const PackedWeightsScope held(ops);
          ops.run(op::Matmul{
              .c = x.output("first", {m, n}), .a = a, .b = weight, .flags = {.transpose_b = tb}});
          ops.run(op::Matmul{
              .c = x.output("of other", {m, n}), .a = a, .b = other, .flags = {.transpose_b = tb}});
          ops.run(op::Matmul{
              .c = x.output("second", {m, n}), .a = a2, .b = weight, .flags = {.transpose_b = tb}});
          ops.run(op::Matmul{.c = x.output("gradient", {k, n}),
                             .a = a,
                             .b = changing,
                             .flags = {.transpose_a = true}});
          ops.run(op::Copy{.out = changing, .in = changed});
          ops.run(op::Matmul{.c = x.output("changed gradient", {k, n}),
                             .a = a,
                             .b = changing,
                             .flags = {.transpose_a = true}});
        }
        ops.run(op::Copy{.out = weight, .in = other});
        const PackedWeightsScope held(ops);
        ops.run(op::Matmul{
            .c = x.output("last", {m, n}), .a = a, .b = weight, .flags = {.transpose_b = tb}});
      })) << m
          << " rows, transposed " << tb;
    }
  }
}

TEST_P(KernelSuite, RmsNorm) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    for (const double magnitude : {1.0, 1e-3, 1e3}) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Tensor in = x.input(stream("x"), {T, D}, -magnitude, magnitude);
        const Tensor weight = x.input("weight", {D}, 0.5, 1.5), rstd = x.output("rstd", {T});
        ops.run(op::RmsNorm{.out_TD = x.output(operand("out"), {T, D}),
                            .rstd_T = rstd,
                            .x_TD = in,
                            .weight_D = weight,
                            .epsilon = 1e-5});
        ops.run(op::RmsNormBackward{.dx_TD = x.inout(stream("dx"), {T, D}),
                                    .dweight_D = x.inout("dweight", {D}),
                                    .dout_TD = x.input(operand("dout"), {T, D}),
                                    .x_TD = in,
                                    .weight_D = weight,
                                    .rstd_T = rstd});
      })) << T
          << ' ' << D << ' ' << magnitude;
    }
  }
}

TEST_P(KernelSuite, Residual) {
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
      const Shape TD{T, D};
      const Tensor a = x.input(stream("x"), TD), b = x.input(operand("y"), TD),
                   dout = x.input(stream("dout"), TD);
      ops.run(op::Residual{.out_TD = x.output(stream("plain"), TD), .x_TD = a, .y_TD = b});
      ops.run(op::ResidualBackward{.dy_TD = x.output(operand("plain dy"), TD), .dout_TD = dout});
      const Tensor weight = x.input("weight", {D}, 0.5, 1.5);
      ops.run(op::ResidualRmsNorm{.out_TD = x.output(stream("plain out"), TD),
                                  .normed_TD = x.output(operand("plain normed"), TD),
                                  .rstd_T = x.output("plain rstd", {T}),
                                  .x_TD = a,
                                  .y_TD = b,
                                  .weight_D = weight,
                                  .epsilon = 1e-5});
    })) << T
        << ' ' << D;
    for (const double raw : {-20.0, -7.0, 0.25, 30.0, 100.0}) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Shape TD{T, D};
        const Tensor gain = x.input("gain", {1}, raw, raw), weight = x.input("weight", {D}, 0.5, 2);
        const Tensor a = x.input(stream("x"), TD), b = x.input(operand("y"), TD),
                     dout = x.input(stream("dout"), TD);
        ops.run(op::Residual{
            .out_TD = x.output(stream("out"), TD), .x_TD = a, .y_TD = b, .gain = gain});
        const Tensor over_x = x.inout(stream("over x"), TD);
        ops.run(op::Residual{.out_TD = over_x, .x_TD = over_x, .y_TD = b, .gain = gain});
        if (x.same_type(TypeClass::stream, TypeClass::operand)) {
          const Tensor over_y = x.inout(stream("over y"), TD);
          ops.run(op::Residual{.out_TD = over_y, .x_TD = a, .y_TD = over_y, .gain = gain});
        }
        ops.run(op::ResidualRmsNorm{.out_TD = x.output(stream("fused out"), TD),
                                    .normed_TD = x.output(operand("normed"), TD),
                                    .rstd_T = x.output("rstd", {T}),
                                    .x_TD = a,
                                    .y_TD = b,
                                    .gain = gain,
                                    .weight_D = weight,
                                    .epsilon = 1e-5});
        ops.run(op::ResidualBackward{
            .dy_TD = x.output(operand("dy"), TD), .dout_TD = dout, .gain = gain});
        if (x.same_type(TypeClass::stream, TypeClass::operand)) {
          const Tensor over_dout = x.inout(stream("over dout"), TD);
          ops.run(op::ResidualBackward{.dy_TD = over_dout, .dout_TD = over_dout, .gain = gain});
        }
        ops.run(op::ResidualGainBackward{.dgain = x.inout("dgain", {1}),
                                         .da = x.input(operand("da"), TD),
                                         .a = b,
                                         .gain = gain});
      })) << T
          << ' ' << D << ' ' << raw;
    }
  }
}

TEST_P(KernelSuite, CrossEntropy) {
  for (const RowShape& shape : {RowShape{1, 1}, {5, 5}, {300, 7}, {33, 1000}}) {
    const std::int64_t T = shape.tokens, V = shape.width;
    // Around 0, and where exp overflows without the maximum's shift.
    for (const double centre : {0.0, 100.0, -100.0}) {
      for (const std::int64_t last_target : {V, std::int64_t{0}}) {  // 0: all ignored
        EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
          const Shape TV{T, V};
          const double low = centre - 5, high = centre + 5;
          const Tensor targets = x.ids("targets", {T}, -1, last_target);
          ops.run(op::CrossEntropy{.loss_T = x.output("loss alone", {T}),
                                   .logits_TV = x.inout("kept logits", TV, low, high),
                                   .targets_T = targets,
                                   .grad_scale = 0});
          // With dlogits elsewhere logits are used up, and not looked at.
          const Tensor used_up = x.input("logits", TV, low, high);
          const Tensor dlogits = x.output(operand("dlogits"), TV);
          ops.run(op::CrossEntropy{.loss_T = x.output("loss", {T}),
                                   .dlogits_TV = dlogits,
                                   .logits_TV = used_up,
                                   .targets_T = targets,
                                   .grad_scale = 1.0 / 300});
          if (x.same_type(TypeClass::master, TypeClass::operand)) {
            const Tensor in_place = x.inout("logits, then dlogits", TV, low, high);
            ops.run(op::CrossEntropy{.loss_T = x.output("loss of in place", {T}),
                                     .dlogits_TV = in_place,
                                     .logits_TV = in_place,
                                     .targets_T = targets,
                                     .grad_scale = 0.3});
          }
        })) << T
            << ' ' << V << ' ' << centre << ' ' << last_target;
      }
    }
  }
}

TEST_P(KernelSuite, VocabularyStatistics) {
  for (const std::int64_t T : {1, 5, 300}) {
    for (const double centre : {0.0, 100.0, -100.0}) {
      for (const Part& part : kParts) {
        EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
          const Tensor logits = x.inout("kept logits", {T, part.count}, centre - 5, centre + 5);
          ops.run(op::VocabularyStatistics{.stats_T3 = x.output("stats", {T, 3}),
                                           .logits_TV = logits,
                                           .targets_T = x.ids("targets", {T}, -1, 13),
                                           .rows = part.rows});
        })) << T
            << ' ' << centre << ' ' << part.rows.first << '+' << part.count;
      }
    }
  }
  EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
    ops.run(op::VocabularyStatistics{.stats_T3 = x.output("stats", {33, 3}),
                                     .logits_TV = x.input("logits", {33, 5000}, -9, 9),
                                     .targets_T = x.ids("targets", {33}, 900, 7000),
                                     .rows = {1000, 7000}});
  }));
}

TEST_P(KernelSuite, ShardedCrossEntropy) {
  // Maxima of the parts so far apart that exponentials vanish: 100.
  for (const double spread : {1.0, 100.0}) {
    for (const std::int64_t parts : {1, 3}) {
      for (const std::int64_t T : {1, 5, 300}) {
        for (const Part& part : kParts) {
          EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
            const Shape TV{T, part.count};
            const Tensor targets = x.ids("targets", {T}, -1, 13);
            // Sums of exponentials are at least 1, and logits are no more than any maximum.
            const Tensor stats = x.input("stats", {parts, T, 3}, 1, 1 + spread);
            const Tensor logits = x.inout("kept logits", TV, -spread, 1);
            ops.run(op::ShardedCrossEntropy{.loss_T = x.output("loss alone", {T}),
                                            .logits_TV = logits,
                                            .stats_RT3 = stats,
                                            .targets_T = targets,
                                            .rows = part.rows,
                                            .grad_scale = 0});
            ops.run(op::ShardedCrossEntropy{.loss_T = x.output("loss", {T}),
                                            .dlogits_TV = x.output(operand("dlogits"), TV),
                                            .logits_TV = logits,
                                            .stats_RT3 = stats,
                                            .targets_T = targets,
                                            .rows = part.rows,
                                            .grad_scale = 1.0 / 300});
            if (x.same_type(TypeClass::master, TypeClass::operand)) {
              const Tensor in_place = x.inout("logits, then dlogits", TV, -spread, 1);
              ops.run(op::ShardedCrossEntropy{.loss_T = x.output("loss of in place", {T}),
                                              .dlogits_TV = in_place,
                                              .logits_TV = in_place,
                                              .stats_RT3 = stats,
                                              .targets_T = targets,
                                              .rows = part.rows,
                                              .grad_scale = 0.3});
            }
          })) << spread
              << ' ' << parts << ' ' << T << ' ' << part.rows.first << '+' << part.count;
        }
      }
    }
  }
}

// The statistics of the whole vocabulary are those of one part.
TEST_P(KernelSuite, StatisticsGiveTheLoss) {
  EXPECT_TRUE(agrees([](Ops& ops, Operands& x) {
    const Shape TV{33, 1000};
    const Tensor logits = x.input("logits", TV, 95, 105), stats = x.output("stats", {33, 3});
    const Tensor targets = x.ids("targets", {33}, -1, 1000);
    ops.run(op::VocabularyStatistics{
        .stats_T3 = stats, .logits_TV = logits, .targets_T = targets, .rows = {0, 1000}});
    ops.run(op::ShardedCrossEntropy{.loss_T = x.output("loss", {33}),
                                    .dlogits_TV = x.output(operand("dlogits"), TV),
                                    .logits_TV = logits,
                                    .stats_RT3 = stats.reshape({1, 33, 3}),
                                    .targets_T = targets,
                                    .rows = {0, 1000},
                                    .grad_scale = 1.0 / 33});
  }));
}

TEST_P(KernelSuite, AdamW) {
  for (const std::int64_t n : {1, 7, 1000, 4097}) {
    for (const double t : {1.0, 2.0, 1000.0}) {
      const AdamWStep step{.learning_rate = 3e-4,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .weight_decay = 0.3,
                           .correction1 = 1 - std::pow(0.9, t),
                           .correction2 = 1 - std::pow(0.95, t),
                           .gradient_scale = 0.37};
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        ops.run(op::AdamW{.value_N = x.inout("value", {n}),
                          .m_N = x.inout("m", {n}),
                          .v_N = x.inout("v", {n}, 0, 1),
                          .gradient_N = x.input("gradient", {n}),
                          .step = step});
        if (!x.same_type(TypeClass::master, TypeClass::operand)) {
          ops.run(op::AdamW{.value_N = x.inout("kept twice", {n}),
                            .m_N = x.inout("its m", {n}),
                            .v_N = x.inout("its v", {n}, 0, 1),
                            .operand_N = x.output(operand("copy"), {n}),
                            .gradient_N = x.input("its gradient", {n}),
                            .step = step});
        }
        // A parameter that never had a gradient only decays.
        ops.run(op::AdamW{.value_N = x.inout("unused value", {n}),
                          .m_N = x.inout("zero m", {n}, 0, 0),
                          .v_N = x.inout("zero v", {n}, 0, 0),
                          .gradient_N = x.input("zero gradient", {n}, 0, 0),
                          .step = step});
      })) << n
          << " at step " << t;
    }
  }
}

TEST_P(KernelSuite, Sums) {
  for (const std::int64_t n : {1, 7, 1000, 100003}) {
    EXPECT_TRUE(agrees([n](Ops& ops, Operands& x) {
      ops.run(op::SumOfSquares{.out = x.sums("squares", {1}), .x_N = x.input("x", {n})});
      ops.run(op::ColumnSums{.out_C = x.sums("total", {1}), .in_TC = x.input("in", {n})});
    })) << n;
  }
  for (const RowShape& shape : kRowShapes) {
    const std::int64_t T = shape.tokens, D = shape.width;
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
      ops.run(op::ColumnSums{.out_C = x.sums("columns", {D}), .in_TC = x.input("in", {T, D})});
      ops.run(op::RowDot{.out_T = x.output("dots", {T}),
                         .a_TD = x.input(stream("a"), {T, D}),
                         .b_TD = x.input(stream("b"), {T, D})});
    })) << T
        << ' ' << D;
  }
}

// Sums are held in f64: one large number must not swallow the small ones.
TEST_P(KernelSuite, SumsAreHeldInDouble) {
  EXPECT_TRUE(agrees_exactly([](Ops& ops, Operands& x) {
    const Tensor squares = x.sums("squares", {1}, 0, 0), columns = x.sums("columns", {3}, 0, 0);
    ops.run(op::SumOfSquares{.out = squares, .x_N = x.input("large", {1}, 0x1p16, 0x1p16)});
    ops.run(op::ColumnSums{.out_C = columns,
                           .in_TC = x.input("large columns", {1, 3}, 0x1p29, 0x1p30)});
    ops.run(op::SumOfSquares{.out = squares, .x_N = x.whole_numbers("small", {1001}, -3, 4)});
    ops.run(op::ColumnSums{.out_C = columns,
                           .in_TC = x.whole_numbers("small columns", {1001, 3}, 0, 2)});
  }));
}

}  // namespace
}  // namespace dualpath
