// The products of core/ops/ops.h as cuBLASLt's: ours are of row-major matrices, its of column-major
// ones.
//
// A row-major matrix [r, c] is, in the same memory, the column-major matrix [c, r] that is its
// transpose, with leading dimension c. So C = op(A)·op(B) is Cᵀ = op(B)ᵀ·op(A)ᵀ: the operands
// change places, and each is transposed there where it is here.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <fmt/format.h>
#include <string>

#include "core/ops/ops.h"

namespace dualpath::gpu {

// A column-major matrix as it lies in memory; consecutive columns begin leading_dimension elements
// apart.
struct ColumnMajor {
  std::int64_t rows, columns;
  std::int64_t leading_dimension;
  auto operator<=>(const ColumnMajor&) const = default;
};

// d = op(first)·op(second) + beta·d
struct ColumnMajorProduct {
  ColumnMajor first, second, d;
  bool transpose_first, transpose_second;
  float beta;
  auto operator<=>(const ColumnMajorProduct&) const = default;
};

// What an algorithm is chosen for.
struct Product {
  ColumnMajorProduct shape;
  DType operand_type, result_type;
  std::array<std::uint32_t, 3> alignments;  // of first, second and d, in bytes
  auto operator<=>(const Product&) const = default;
};

inline ColumnMajor column_major(Tensor row_major) {
  return {row_major.cols(), row_major.rows(), row_major.cols()};
}

// The column-major form of c (= or +=) op(a)·op(b): `first` is b, `second` is a.
inline ColumnMajorProduct column_major_product(const op::Matmul& op) {
  return {.first = column_major(op.b),
          .second = column_major(op.a),
          .d = column_major(op.c),
          .transpose_first = op.flags.transpose_b,
          .transpose_second = op.flags.transpose_a,
          .beta = op.flags.accumulate ? 1.0F : 0.0F};
}

// The largest power of two up to 256 that divides the address.
inline std::uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

inline Product product_of(const op::Matmul& op) {
  return {column_major_product(op),
          op.a.dtype,
          op.c.dtype,
          {alignment_of(op.b.data), alignment_of(op.a.data), alignment_of(op.c.data)}};
}

// All of it in one line, as a row-major product: "product f32 [64, 8] += bf16 [32, 64]' [32, 8],
// aligned 256 256 128", where ' means transposed.
inline std::string text_of(const Product& p) {
  const auto operand = [](const ColumnMajor& matrix, bool transposed) {
    return fmt::format("[{}, {}]{}", matrix.columns, matrix.rows, transposed ? "'" : "");
  };
  return fmt::format("product {} {} {} {} {} {}, aligned {} {} {}", name_of(p.result_type),
                     operand(p.shape.d, false),
                     p.shape.beta == 0 ? "=" : "+=", name_of(p.operand_type),
                     operand(p.shape.second, p.shape.transpose_second),
                     operand(p.shape.first, p.shape.transpose_first), p.alignments[2],
                     p.alignments[1], p.alignments[0]);
}

}  // namespace dualpath::gpu
