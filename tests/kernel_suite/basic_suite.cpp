// Movement, embedding, matrix product, norms, residual, loss and optimizer.
#include <cmath>

#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

TEST_P(KernelSuite, MovementIsExact) {
  for (const std::int64_t n : {1, 7, 1000, 4097}) {
    EXPECT_TRUE(agrees_exactly([n](Ops& ops, Operands& x) {
      ops.fill(x.output(stream("filled"), {n}), -0.375);
      ops.copy(x.output(stream("copied"), {n}), x.input(stream("in"), {n}));
      ops.copy(x.output("reshaped", {n, 1}), x.input("flat", {n}));
      ops.copy(x.output(operand("rounded"), {n}), x.input("to round", {n}));
      // Sums of small whole numbers are exact.
      const Tensor a = x.whole_numbers(stream("a"), {n}, -60, 61),
                   b = x.whole_numbers(stream("b"), {n}, -60, 61);
      const Tensor total = x.output(stream("total"), {n}),
                   in_place = x.output(stream("in place"), {n});
      ops.sum(total, a, b);
      ops.add(total, a);
      ops.copy(in_place, a);
      ops.sum(in_place, in_place, b);
      ops.sum(in_place, b, in_place);
    })) << n;
  }
  EXPECT_TRUE(agrees([](Ops& ops, Operands& x) {
    ops.fill(x.output(stream("filled"), {33}), 0.1);
    ops.add(x.inout(stream("added"), {33, 7}), x.input(stream("in"), {33, 7}));
    ops.sum(x.output(stream("sum"), {33, 7}), x.input(stream("a"), {33, 7}),
            x.input(stream("b"), {33, 7}));
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
    for (const auto& [T, D] : kRowShapes) {
      EXPECT_TRUE(agrees_exactly([=](Ops& ops, Operands& x) {
        ops.embedding(x.output(stream("out"), {T, D}), x.ids("ids", {T}, 0, ids),
                      x.input("table", {part.count, D}), part.rows);
      })) << part.rows.first
          << '+' << part.count << ' ' << T << ' ' << D;
    }
  };
  for (const std::int64_t V : {1, 5, 1000}) expect_exact(V, {{0, V}, V});
  for (const Part& part : kParts) expect_exact(13, part);
}

TEST_P(KernelSuite, EmbeddingBackward) {
  const auto expect_agreement = [&](std::int64_t ids, Part part) {
    for (const auto& [T, D] : kRowShapes) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        ops.embedding_backward(x.inout("grad", {part.count, D}), x.ids("ids", {T}, 0, ids),
                               x.input(stream("dout"), {T, D}), part.rows);
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
        ops.matmul(accumulate ? x.inout("c", c) : x.output("c", c), x.input(operand("a"), a),
                   x.input(operand("b"), b), {ta, tb, accumulate});
      })) << c.str()
          << " flags " << flags;
      EXPECT_TRUE(agrees_exactly([=](Ops& ops, Operands& x) {
        const Tensor out = x.output("c", c);
        ops.matmul(out, x.whole_numbers(operand("a"), a, -9, 10),
                   x.whole_numbers(operand("b"), b, -9, 10), {ta, tb});
        if (accumulate) {
          ops.matmul(out, x.whole_numbers(operand("a2"), a, -9, 10),
                     x.whole_numbers(operand("b2"), b, -9, 10), {ta, tb, true});
        }
      })) << c.str()
          << " flags " << flags << ", whole numbers";
    }
  }
}

// A held weight is multiplied with several times; what is no weight, and a weight that is changed
// after its release, is read anew.
TEST_P(KernelSuite, HeldWeights) {
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
          const HeldWeights held(ops);
          ops.matmul(x.output("first", {m, n}), a, weight, {.transpose_b = tb});
          ops.matmul(x.output("of other", {m, n}), a, other, {.transpose_b = tb});
          ops.matmul(x.output("second", {m, n}), a2, weight, {.transpose_b = tb});
          ops.matmul(x.output("gradient", {k, n}), a, changing, {.transpose_a = true});
          ops.copy(changing, changed);
          ops.matmul(x.output("changed gradient", {k, n}), a, changing, {.transpose_a = true});
        }
        ops.copy(weight, other);
        const HeldWeights held(ops);
        ops.matmul(x.output("last", {m, n}), a, weight, {.transpose_b = tb});
      })) << m
          << " rows, transposed " << tb;
    }
  }
}

TEST_P(KernelSuite, RmsNorm) {
  for (const auto& [T, D] : kRowShapes) {
    for (const double magnitude : {1.0, 1e-3, 1e3}) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Tensor in = x.input(stream("x"), {T, D}, -magnitude, magnitude);
        const Tensor weight = x.input("weight", {D}, 0.5, 1.5), rstd = x.output("rstd", {T});
        ops.rms_norm(x.output(operand("out"), {T, D}), rstd, in, weight, 1e-5);
        ops.rms_norm_backward(x.inout(stream("dx"), {T, D}), x.inout("dweight", {D}),
                              x.input(operand("dout"), {T, D}), in, weight, rstd);
      })) << T
          << ' ' << D << ' ' << magnitude;
    }
  }
}

TEST_P(KernelSuite, Residual) {
  for (const auto& [T, D] : kRowShapes) {
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
      const Shape TD{T, D};
      const Tensor a = x.input(stream("x"), TD), b = x.input(operand("y"), TD),
                   dout = x.input(stream("dout"), TD);
      ops.residual(x.output(stream("plain"), TD), a, b, {});
      ops.residual_backward(x.output(operand("plain dy"), TD), dout, {});
      const Tensor weight = x.input("weight", {D}, 0.5, 1.5);
      ops.residual_rms_norm(x.output(stream("plain out"), TD),
                            x.output(operand("plain normed"), TD), x.output("plain rstd", {T}), a,
                            b, {}, weight, 1e-5);
    })) << T
        << ' ' << D;
    for (const double raw : {-20.0, -7.0, 0.25, 30.0, 100.0}) {
      EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
        const Shape TD{T, D};
        const Tensor gain = x.input("gain", {1}, raw, raw), weight = x.input("weight", {D}, 0.5, 2);
        const Tensor a = x.input(stream("x"), TD), b = x.input(operand("y"), TD),
                     dout = x.input(stream("dout"), TD);
        ops.residual(x.output(stream("out"), TD), a, b, gain);
        const Tensor over_x = x.inout(stream("over x"), TD);
        ops.residual(over_x, over_x, b, gain);
        if (x.same_type(Operands::Kind::stream, Operands::Kind::operand)) {
          const Tensor over_y = x.inout(stream("over y"), TD);
          ops.residual(over_y, a, over_y, gain);
        }
        ops.residual_rms_norm(x.output(stream("fused out"), TD), x.output(operand("normed"), TD),
                              x.output("rstd", {T}), a, b, gain, weight, 1e-5);
        ops.residual_backward(x.output(operand("dy"), TD), dout, gain);
        if (x.same_type(Operands::Kind::stream, Operands::Kind::operand)) {
          const Tensor over_dout = x.inout(stream("over dout"), TD);
          ops.residual_backward(over_dout, over_dout, gain);
        }
        ops.residual_gain_backward(x.inout("dgain", {1}), x.input(operand("da"), TD), b, gain);
      })) << T
          << ' ' << D << ' ' << raw;
    }
  }
}

TEST_P(KernelSuite, CrossEntropy) {
  for (const auto& [T, V] : {RowShape{1, 1}, {5, 5}, {300, 7}, {33, 1000}}) {
    // Around 0, and where exp overflows without the maximum's shift.
    for (const double centre : {0.0, 100.0, -100.0}) {
      for (const std::int64_t last_target : {V, std::int64_t{0}}) {  // 0: all ignored
        EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
          const Shape TV{T, V};
          const double low = centre - 5, high = centre + 5;
          const Tensor targets = x.ids("targets", {T}, -1, last_target);
          ops.cross_entropy(x.output("loss alone", {T}), {}, x.inout("kept logits", TV, low, high),
                            targets, 0);
          // With dlogits elsewhere logits are used up, and not looked at.
          const Tensor used_up = x.input("logits", TV, low, high);
          const Tensor dlogits = x.output(operand("dlogits"), TV);
          ops.cross_entropy(x.output("loss", {T}), dlogits, used_up, targets, 1.0 / 300);
          if (x.same_type(Operands::Kind::master, Operands::Kind::operand)) {
            const Tensor in_place = x.inout("logits, then dlogits", TV, low, high);
            ops.cross_entropy(x.output("loss of in place", {T}), in_place, in_place, targets, 0.3);
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
          ops.vocabulary_statistics(x.output("stats", {T, 3}), logits,
                                    x.ids("targets", {T}, -1, 13), part.rows);
        })) << T
            << ' ' << centre << ' ' << part.rows.first << '+' << part.count;
      }
    }
  }
  EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
    ops.vocabulary_statistics(x.output("stats", {33, 3}), x.input("logits", {33, 5000}, -9, 9),
                              x.ids("targets", {33}, 900, 7000), {1000, 7000});
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
            ops.sharded_cross_entropy(x.output("loss alone", {T}), {}, logits, stats, targets,
                                      part.rows, 0);
            ops.sharded_cross_entropy(x.output("loss", {T}), x.output(operand("dlogits"), TV),
                                      logits, stats, targets, part.rows, 1.0 / 300);
            if (x.same_type(Operands::Kind::master, Operands::Kind::operand)) {
              const Tensor in_place = x.inout("logits, then dlogits", TV, -spread, 1);
              ops.sharded_cross_entropy(x.output("loss of in place", {T}), in_place, in_place,
                                        stats, targets, part.rows, 0.3);
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
    ops.vocabulary_statistics(stats, logits, targets, {0, 1000});
    ops.sharded_cross_entropy(x.output("loss", {33}), x.output(operand("dlogits"), TV), logits,
                              stats.reshape({1, 33, 3}), targets, {0, 1000}, 1.0 / 33);
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
        ops.adamw(x.inout("value", {n}), x.inout("m", {n}), x.inout("v", {n}, 0, 1), {},
                  x.input("gradient", {n}), step);
        if (!x.same_type(Operands::Kind::master, Operands::Kind::operand)) {
          ops.adamw(x.inout("kept twice", {n}), x.inout("its m", {n}), x.inout("its v", {n}, 0, 1),
                    x.output(operand("copy"), {n}), x.input("its gradient", {n}), step);
        }
        // A parameter that never had a gradient only decays.
        ops.adamw(x.inout("unused value", {n}), x.inout("zero m", {n}, 0, 0),
                  x.inout("zero v", {n}, 0, 0), {}, x.input("zero gradient", {n}, 0, 0), step);
      })) << n
          << " at step " << t;
    }
  }
}

TEST_P(KernelSuite, Sums) {
  for (const std::int64_t n : {1, 7, 1000, 100003}) {
    EXPECT_TRUE(agrees([n](Ops& ops, Operands& x) {
      ops.sum_of_squares(x.sums("squares", {1}), x.input("x", {n}));
      ops.column_sums(x.sums("total", {1}), x.input("in", {n}));
    })) << n;
  }
  for (const auto& [T, D] : kRowShapes) {
    EXPECT_TRUE(agrees([=](Ops& ops, Operands& x) {
      ops.column_sums(x.sums("columns", {D}), x.input("in", {T, D}));
      ops.row_dot(x.output("dots", {T}), x.input(stream("a"), {T, D}),
                  x.input(stream("b"), {T, D}));
    })) << T
        << ' ' << D;
  }
}

// Sums are held in f64: one large number must not swallow the small ones.
TEST_P(KernelSuite, SumsAreHeldInDouble) {
  EXPECT_TRUE(agrees_exactly([](Ops& ops, Operands& x) {
    const Tensor squares = x.sums("squares", {1}, 0, 0), columns = x.sums("columns", {3}, 0, 0);
    ops.sum_of_squares(squares, x.input("large", {1}, 0x1p16, 0x1p16));
    ops.column_sums(columns, x.input("large columns", {1, 3}, 0x1p29, 0x1p30));
    ops.sum_of_squares(squares, x.whole_numbers("small", {1001}, -3, 4));
    ops.column_sums(columns, x.whole_numbers("small columns", {1001, 3}, 0, 2));
  }));
}

}  // namespace
}  // namespace dualpath
