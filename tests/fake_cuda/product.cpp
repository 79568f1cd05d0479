#include <algorithm>

#include "core/base/bfloat16.h"
#include "tests/fake_cuda/blaslt.h"

namespace dualpath::fake_cuda {
namespace {

float value_at(const Layout& layout, const void* matrix, std::uint64_t row, std::uint64_t column) {
  const std::uint64_t at = column * static_cast<std::uint64_t>(layout.leading_dimension) + row;
  return layout.type == CUDA_R_16BF ? static_cast<float>(static_cast<const bfloat16*>(matrix)[at])
                                    : static_cast<const float*>(matrix)[at];
}

void set_at(const Layout& layout, void* matrix, std::uint64_t row, std::uint64_t column,
            float value) {
  const std::uint64_t at = column * static_cast<std::uint64_t>(layout.leading_dimension) + row;
  if (layout.type == CUDA_R_16BF) {
    static_cast<bfloat16*>(matrix)[at] = static_cast<bfloat16>(value);
  } else {
    static_cast<float*>(matrix)[at] = value;
  }
}

// Rows and columns of op(matrix).
std::pair<std::uint64_t, std::uint64_t> size_of(const Layout& layout, cublasOperation_t operation) {
  if (operation == CUBLAS_OP_N) return {layout.rows, layout.columns};
  return {layout.columns, layout.rows};
}

}  // namespace

void check_product(const Product& product) {
  const auto& [a, b, c, d] = product.matrices;
  const auto& [operation_a, operation_b] = product.description.operations;
  const auto demand = [](bool condition, const char* why) {
    require(condition, cudaErrorInvalidValue, why);
  };
  demand(product.description.compute_type == CUBLAS_COMPUTE_32F &&
             product.description.scale_type == CUDA_R_32F,
         "products are computed and scaled in fp32 here");
  for (const Layout& layout : product.matrices) {
    demand(layout.type == CUDA_R_32F || layout.type == CUDA_R_16BF, "the type of a matrix");
    demand(layout.rows > 0 && layout.columns > 0, "an empty matrix");
    demand(layout.leading_dimension >= static_cast<std::int64_t>(layout.rows),
           "columns that overlap: the leading dimension is less than the rows");
  }
  demand(a.type == b.type && c.type == d.type && (a.type == CUDA_R_16BF || c.type == CUDA_R_32F),
         "a combination of types that cuBLASLt does not have");
  const auto [rows, inner] = size_of(a, operation_a);
  const auto [inner_of_b, columns] = size_of(b, operation_b);
  demand(inner == inner_of_b, "A and B do not fit together");
  demand(d.rows == rows && d.columns == columns && c.rows == rows && c.columns == columns,
         "C or D is not of the product's size");
}

void compute_product(const Product& product, int algorithm, const void* a, const void* b,
                     const void* c, void* d) {
  const auto& [layout_a, layout_b, layout_c, layout_d] = product.matrices;
  const auto& [operation_a, operation_b] = product.description.operations;
  const std::uint64_t inner = size_of(layout_a, operation_a).second;
  const auto at = [](const Layout& layout, cublasOperation_t operation, const void* matrix,
                     std::uint64_t row, std::uint64_t column) {
    if (operation == CUBLAS_OP_T) std::swap(row, column);
    return value_at(layout, matrix, row, column);
  };
  // Algorithm n sums n + 1 parts, of interleaved terms, and then the parts.
  const std::uint64_t parts = static_cast<std::uint64_t>(algorithm) + 1;
  for (std::uint64_t column = 0; column < layout_d.columns; ++column) {
    for (std::uint64_t row = 0; row < layout_d.rows; ++row) {
      float sum = 0;
      for (std::uint64_t part = 0; part < parts; ++part) {
        float of_part = 0;
        for (std::uint64_t k = part; k < inner; k += parts)
          of_part += at(layout_a, operation_a, a, row, k) * at(layout_b, operation_b, b, k, column);
        sum += of_part;
      }
      sum *= product.alpha;
      if (product.beta != 0) sum += product.beta * value_at(layout_c, c, row, column);
      set_at(layout_d, d, row, column, sum);
    }
  }
}

}  // namespace dualpath::fake_cuda
