// The matrix product.
#pragma once

#include <compare>
#include <cstdint>

#include "core/ops/contract.h"

namespace dualpath {

struct MatmulFlags {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // += instead of =
  auto operator<=>(const MatmulFlags&) const = default;
};

namespace op {

// c (= or +=) op(a)·op(b), where op transposes or not; c is operand or master. Sums are held in the
// master type.
struct Matmul {
  static constexpr const char* name = "matmul";
  Tensor c, a, b;
  MatmulFlags flags = {};

  std::int64_t rows() const { return a.shape[flags.transpose_a ? 1 : 0]; }
  std::int64_t inner() const { return a.shape[flags.transpose_a ? 0 : 1]; }
  std::int64_t columns() const { return b.shape[flags.transpose_b ? 0 : 1]; }

  void operands(Contract& call) const {
    call.rank("a", a, 2);
    call.rank("b", b, 2);
    call.require(c.dtype == a.dtype || c.dtype == DType::f32, "c must be {} or f32, is {}",
                 name_of(a.dtype), name_of(c.dtype));
    const Shape product{rows(), columns()};
    flags.accumulate ? call.update("c", c, TypeClass::any, product)
                     : call.write("c", c, TypeClass::any, product);
    call.read("a", a, TypeClass::operand, a.shape);
    call.read("b", b, TypeClass::operand,
              flags.transpose_b ? Shape{columns(), inner()} : Shape{inner(), columns()});
  }
  double flops() const {
    return 2.0 * static_cast<double>(c.numel()) * static_cast<double>(inner());
  }
  // Tells the transpositions apart, which differ in speed.
  const char* label() const {
    constexpr const char* labels[2][2][2] = {
        {{"matmul nn", "matmul nn +="}, {"matmul nt", "matmul nt +="}},
        {{"matmul tn", "matmul tn +="}, {"matmul tt", "matmul tt +="}}};
    return labels[flags.transpose_a][flags.transpose_b][flags.accumulate];
  }
};

}  // namespace op
}  // namespace dualpath
