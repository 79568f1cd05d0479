// Matrix products of bf16 numbers by oneDNN. Its generator of machine code needs up to
// milliseconds for a new shape, so every shape's product is kept.
#pragma once

#include <compare>
#include <dnnl.hpp>
#include <map>

#include "core/ops.h"

namespace dualpath {

struct ProductShape {
  std::int64_t rows, columns, inner;  // of c = op(a)·op(b)
  DType c_type;
  MatmulFlags flags;
  auto operator<=>(const ProductShape&) const = default;
};

class Bf16Product {
 public:
  Bf16Product(const dnnl::engine& engine, const ProductShape& shape);
  // c (= or +=) op(a)·op(b), a and b bf16, c as the shape says.
  void run(const dnnl::stream& stream, Tensor c, Tensor a, Tensor b);

 private:
  dnnl::matmul product_;
  dnnl::memory a_, b_, c_;
};

class Bf16Products {
 public:
  Bf16Product& of(const ProductShape& shape);
  const dnnl::stream& stream() const { return stream_; }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<ProductShape, Bf16Product> products_;
};

}  // namespace dualpath
