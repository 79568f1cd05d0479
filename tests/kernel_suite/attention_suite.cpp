// Rotary position, per-head norms and causal attention.
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

// Positions just above, below and at the block sizes that a blocked kernel is likely to have.
constexpr AttentionShape kShapes[] = {{1, 1, 1, 1, 2},    {3, 5, 6, 3, 2},   {2, 17, 4, 1, 8},
                                      {1, 64, 2, 2, 64},  {2, 65, 2, 1, 64}, {1, 257, 4, 2, 8},
                                      {1, 130, 1, 1, 128}};

std::string describe(const AttentionShape& s) {
  return fmt::format("{} x {} positions from {}, {}/{} heads of {}", s.sequences, s.positions,
                     s.first_position, s.heads, s.kv_heads, s.head_size);
}

// One new token, a few and many, behind pasts of every kind.
constexpr AttentionShape kCachedShapes[] = {
    {1, 1, 1, 1, 2, 0},   {1, 1, 6, 3, 2, 5},     {1, 1, 4, 1, 64, 300},
    {1, 3, 2, 2, 8, 31},  {1, 5, 4, 2, 64, 2},    {1, 17, 4, 1, 8, 33},
    {1, 65, 2, 1, 64, 0}, {1, 130, 2, 2, 8, 127}, {1, 40, 1, 1, 128, 200}};

std::int64_t qkv_width(const AttentionShape& s) {
  return (s.heads + 2 * s.kv_heads) * s.head_size;
}

TEST_P(KernelSuite, QkRope) {
  std::vector<AttentionShape> shapes(std::begin(kShapes), std::end(kShapes));
  shapes.push_back({3, 5, 2, 1, 8, 9});
  for (const AttentionShape& s : shapes) {
    for (const QkNorm norm : {QkNorm::after_rope, QkNorm::before_rope, QkNorm::none}) {
      EXPECT_TRUE(agrees([&](Ops& ops, Operands& x) {
        const std::int64_t T = s.tokens(), E = s.head_size, C = qkv_width(s);
        const Shape q{T, s.heads, E}, k{T, s.kv_heads, E};
        const Shape table{s.first_position + s.positions + 3,
                          E / 2};  // tables may be longer than needed
        const Tensor qkv = x.input(operand("qkv"), {T, C}), cos = x.cosines("angles", table);
        const Tensor sin = x.sines("angles", table), dqkv = x.inout(operand("dqkv"), {T, C});
        Tensor rstd, q_weight, k_weight, dq_weight, dk_weight;
        if (norm != QkNorm::none) {
          rstd = x.output("rstd", {T, s.heads + s.kv_heads});
          q_weight = x.input("q_weight", {E}, 0.5, 1.5);
          k_weight = x.input("k_weight", {E}, 0.5, 1.5);
          dq_weight = x.inout("dq_weight", {E});
          dk_weight = x.inout("dk_weight", {E});
        }
        ops.run(op::QkRope{.q_THE = x.output(operand("q"), q),
                           .k_TGE = x.output(operand("k"), k),
                           .rstd_TN = rstd,
                           .qkv_TC = qkv,
                           .q_weight_E = q_weight,
                           .k_weight_E = k_weight,
                           .cos_PR = cos,
                           .sin_PR = sin,
                           .shape = s,
                           .norm = norm,
                           .epsilon = 1e-5});
        ops.run(op::QkRopeBackward{.dqkv_TC = dqkv,
                                   .dq_weight_E = dq_weight,
                                   .dk_weight_E = dk_weight,
                                   .dq_THE = x.input(operand("dq"), q),
                                   .dk_TGE = x.input(operand("dk"), k),
                                   .rstd_TN = rstd,
                                   .qkv_TC = qkv,
                                   .q_weight_E = q_weight,
                                   .k_weight_E = k_weight,
                                   .cos_PR = cos,
                                   .sin_PR = sin,
                                   .shape = s,
                                   .norm = norm});
      })) << describe(s)
          << ", norm " << static_cast<int>(norm);
    }
  }
}

TEST_P(KernelSuite, Attention) {
  for (const AttentionShape& s : kShapes) {
    // Flat softmaxes, and scores so far apart that exp overflows without the maximum's shift.
    for (const double magnitude : {1.5, 12.0}) {
      EXPECT_TRUE(agrees([&](Ops& ops, Operands& x) {
        const std::int64_t T = s.tokens(), E = s.head_size, C = qkv_width(s);
        const Shape q_shape{T, s.heads, E}, k_shape{T, s.kv_heads, E};
        const Tensor q = x.input(operand("q"), q_shape, -magnitude, magnitude);
        const Tensor k = x.input(operand("k"), k_shape, -magnitude, magnitude);
        const Tensor qkv = x.input(operand("qkv"), {T, C}), dqkv = x.inout(operand("dqkv"), {T, C});
        const Tensor out = x.output(operand("out"), q_shape),
                     log_sum = x.output("log_sum", {T, s.heads});
        ops.run(op::Attention{.out_THE = out,
                              .log_sum_TH = log_sum,
                              .q_THE = q,
                              .k_TGE = k,
                              .qkv_TC = qkv,
                              .shape = s});
        x.stored(out);
        ops.run(op::AttentionBackward{.dq_THE = x.output(operand("dq"), q_shape),
                                      .dk_TGE = x.output(operand("dk"), k_shape),
                                      .dqkv_TC = dqkv,
                                      .dout_THE = x.input(operand("dout"), q_shape),
                                      .out_THE = out,
                                      .log_sum_TH = log_sum,
                                      .q_THE = q,
                                      .k_TGE = k,
                                      .qkv_TC = qkv,
                                      .shape = s});
      })) << describe(s)
          << ", magnitude " << magnitude;
    }
  }
}

TEST_P(KernelSuite, CachedAttention) {
  for (const AttentionShape& s : kCachedShapes) {
    for (const double magnitude : {1.5, 12.0}) {
      EXPECT_TRUE(agrees([&](Ops& ops, Operands& x) {
        const std::int64_t T = s.positions, E = s.head_size;
        const Shape cache{s.first_position + T + 3, s.kv_heads, E};  // it may be longer than needed
        const Tensor q = x.input(operand("q"), {T, s.heads, E}, -magnitude, magnitude);
        const Tensor keys = x.input(operand("keys"), cache, -magnitude, magnitude);
        ops.run(op::CachedAttention{.out_THE = x.output(operand("out"), {T, s.heads, E}),
                                    .log_sum_TH = x.output("log_sum", {T, s.heads}),
                                    .values_PGE = x.inout(operand("values"), cache),
                                    .q_THE = q,
                                    .keys_PGE = keys,
                                    .qkv_TC = x.input(operand("qkv"), {T, qkv_width(s)}),
                                    .shape = s});
      })) << describe(s)
          << ", magnitude " << magnitude;
    }
  }
}

// Rows of each segment and its parent: one text, one row, texts side by side, continuations of one
// beginning, a tree, segments longer than every block.
using Segments = std::vector<std::pair<std::int64_t, std::int64_t>>;
const Segments kSegments[] = {{{1, -1}},
                              {{70, -1}},
                              {{5, -1}, {33, -1}, {1, -1}},
                              {{40, -1}, {3, 0}, {17, 0}, {1, 0}},
                              {{2, -1}, {31, 0}, {9, -1}, {1, 1}, {40, 1}, {6, 2}, {5, 4}},
                              {{150, -1}, {20, 0}, {7, 1}}};

TEST_P(KernelSuite, SegmentAttention) {
  constexpr AttentionShape kHeads[] = {{1, 1, 4, 2, 8}, {1, 1, 2, 1, 64}, {1, 1, 1, 1, 128}};
  for (const Segments& segments : kSegments) {
    for (AttentionShape s : kHeads) {
      std::vector<double> table;
      std::int64_t end = 0, longest = 0;
      for (const auto& [rows, parent] : segments) {
        table.insert(table.end(), {static_cast<double>(end), static_cast<double>(end + rows),
                                   static_cast<double>(parent)});
        end += rows;
        longest = std::max(longest, rows);
      }
      s.positions = end;
      EXPECT_TRUE(agrees([&](Ops& ops, Operands& x) {
        const auto count = static_cast<std::int64_t>(segments.size());
        ops.run(op::SegmentAttention{.out_THE = x.output(operand("out"), s.THE()),
                                     .q_THE = x.input(operand("q"), s.THE(), -3, 3),
                                     .k_TGE = x.input(operand("k"), s.TGE(), -3, 3),
                                     .qkv_TC = x.input(operand("qkv"), s.TC()),
                                     .segments_S3 = x.table("segments", {count, 3}, table),
                                     .shape = s,
                                     .longest_segment = longest,
                                     .pairs = 1});
      })) << segments.size()
          << " segments, " << describe(s);
    }
  }
}

}  // namespace
}  // namespace dualpath
