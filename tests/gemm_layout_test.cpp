// A row-major product handed over as a column-major one is the same product.
#include "core/cuda/libraries/gemm_layout.h"

#include <gtest/gtest.h>
#include <vector>

#include "tests/reference_ops/reference_ops.h"

namespace dualpath {
namespace {

using gpu::ColumnMajor;
using gpu::ColumnMajorProduct;

// An element of op(matrix), which must lie in the matrix.
double element(const double* data, const ColumnMajor& matrix, bool transpose, std::int64_t row,
               std::int64_t column) {
  if (transpose) std::swap(row, column);
  CHECK(row < matrix.rows && column < matrix.columns, "({}, {}) of {} x {}", row, column,
        matrix.rows, matrix.columns);
  return data[row + column * matrix.leading_dimension];
}

// What cublasLtMatmul computes with alpha 1: m and n are the rows and columns of d, k what
// op(first) and op(second) share.
void column_major_multiply(const ColumnMajorProduct& p, const double* first, const double* second,
                           double* d) {
  const std::int64_t k = p.transpose_first ? p.first.rows : p.first.columns;
  ASSERT_EQ(k, p.transpose_second ? p.second.columns : p.second.rows);
  ASSERT_EQ(p.d.rows, p.transpose_first ? p.first.columns : p.first.rows);
  ASSERT_EQ(p.d.columns, p.transpose_second ? p.second.rows : p.second.columns);
  for (const ColumnMajor& matrix : {p.first, p.second, p.d})
    ASSERT_GE(matrix.leading_dimension, matrix.rows);
  for (std::int64_t row = 0; row < p.d.rows; ++row) {
    for (std::int64_t column = 0; column < p.d.columns; ++column) {
      double sum = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        sum += element(first, p.first, p.transpose_first, row, i) *
               element(second, p.second, p.transpose_second, i, column);
      }
      double& out = d[row + column * p.d.leading_dimension];
      out = p.beta == 0 ? sum : sum + static_cast<double>(p.beta) * out;
    }
  }
}

// Small whole numbers: sums are exact.
std::vector<double> numbers(std::int64_t count, std::int64_t seed) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<double>((i * 7 + seed * 13) % 11 - 5));
  return values;
}

Tensor matrix(std::vector<double>& values, std::int64_t rows, std::int64_t columns) {
  return {values.data(), DType::f64, {rows, columns}};
}

TEST(GemmLayout, EveryTranspositionIsTheRowMajorProduct) {
  struct Sizes {
    std::int64_t rows, columns, inner;
  };
  for (const auto& [M, N, K] : {Sizes{2, 3, 4}, {1, 5, 2}, {5, 1, 3}, {4, 4, 1}, {1, 1, 1}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const bool accumulate : {false, true}) {
          const MatmulFlags flags{transpose_a, transpose_b, accumulate};
          std::vector<double> of_a = numbers(M * K, 1), of_b = numbers(K * N, 2);
          std::vector<double> expected = numbers(M * N, 3), found = expected;
          const Tensor a = transpose_a ? matrix(of_a, K, M) : matrix(of_a, M, K);
          const Tensor b = transpose_b ? matrix(of_b, N, K) : matrix(of_b, K, N);
          ReferenceOps().run(
              op::Matmul{.c = matrix(expected, M, N), .a = a, .b = b, .flags = flags});
          column_major_multiply(
              gpu::column_major_product({.c = matrix(found, M, N), .a = a, .b = b, .flags = flags}),
              of_b.data(), of_a.data(), found.data());
          EXPECT_EQ(found, expected)
              << M << ' ' << N << ' ' << K << ' ' << transpose_a << transpose_b << accumulate;
        }
      }
    }
  }
}

TEST(GemmLayout, AlignmentIsOfTheAddress) {
  const auto alignment = [](std::uintptr_t address) {
    return gpu::alignment_of(reinterpret_cast<const void*>(address));
  };
  EXPECT_EQ(alignment(4096), 256u);
  EXPECT_EQ(alignment(256 + 128), 128u);
  EXPECT_EQ(alignment(4096 + 2), 2u);
}

// The key of what is kept in a run folder: whatever an algorithm may depend on changes it.
TEST(GemmLayout, TextsTellProductsApart) {
  const gpu::Product product{{.first = {8, 32, 8},
                              .second = {64, 32, 64},
                              .d = {8, 64, 8},
                              .transpose_first = false,
                              .transpose_second = true,
                              .beta = 1},
                             DType::bf16,
                             DType::f32,
                             {128, 16, 256}};
  EXPECT_EQ(text_of(product), "product f32 [64, 8] += bf16 [32, 64]' [32, 8], aligned 256 16 128");
  std::vector<gpu::Product> others(9, product);
  others[0].shape.first.columns = others[0].shape.second.columns = 33;
  others[1].shape.d.columns = others[1].shape.second.rows = 65;
  others[2].shape.d.rows = others[2].shape.first.rows = 9;
  others[3].shape.transpose_second = false;
  others[4].shape.transpose_first = true;
  others[5].shape.beta = 0;
  others[6].operand_type = DType::f32;
  others[7].result_type = DType::bf16;
  others[8].alignments = {256, 16, 128};
  for (const gpu::Product& other : others) EXPECT_NE(text_of(other), text_of(product));
}

}  // namespace
}  // namespace dualpath
