// The products of core/ops.h as cuBLASLt's: ours are of row-major matrices, its of column-major
// ones.
//
// A row-major matrix [r, c] is, in the same memory, the column-major matrix [c, r] that is its
// transpose, with leading dimension c. So C = op(A)·op(B) is Cᵀ = op(B)ᵀ·op(A)ᵀ: the operands
// change places, and each is transposed there where it is here.
#pragma once

#include <compare>
#include <cstdint>

#include "core/ops.h"

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

inline ColumnMajor column_major(Tensor row_major) {
  return {row_major.cols(), row_major.rows(), row_major.cols()};
}

// Of c (= or +=) op(a)·op(b): `first` is b, `second` is a.
inline ColumnMajorProduct column_major_product(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  return {.first = column_major(b),
          .second = column_major(a),
          .d = column_major(c),
          .transpose_first = flags.transpose_b,
          .transpose_second = flags.transpose_a,
          .beta = flags.accumulate ? 1.0F : 0.0F};
}

// The largest power of two up to 256 that divides the address.
inline std::uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

}  // namespace dualpath::gpu
