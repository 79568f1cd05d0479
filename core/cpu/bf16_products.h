// Matrix products of bf16 numbers by oneDNN. Its generator of machine code needs up to
// milliseconds for a new shape, so every shape's product is kept. Its kernels read b in blocks,
// into which we bring it, once for all products of a weight that is held.
#pragma once

#include <compare>
#include <dnnl.hpp>
#include <map>
#include <vector>

#include "core/cpu/scratch.h"
#include "core/ops/ops.h"

namespace dualpath {

struct ProductShape {
  std::int64_t rows, columns, inner;  // of c = op(a)·op(b)
  DType c_type;
  MatmulFlags flags;
  auto operator<=>(const ProductShape&) const = default;
};

// Pack b only where c has at least this many rows.
inline constexpr std::int64_t least_rows_to_pack = 256;

class Bf16Product {
 public:
  Bf16Product(const dnnl::engine& engine, const ProductShape& shape);

  // Bytes of b packed into the blocks that the product reads; 0: it reads b as it is.
  std::size_t packed_bytes() const { return packs_ ? packed_.get_desc().get_size() : 0; }
  void pack(const dnnl::stream& stream, void* packed, Tensor b);
  // c (= or +=) op(a)·op(b), a and b bf16, c as the shape says. b: packed, if packed_bytes() > 0.
  void run(const dnnl::stream& stream, Tensor c, Tensor a, const void* b);

 private:
  bool packs_;
  dnnl::matmul product_;
  dnnl::reorder pack_;
  dnnl::memory a_, b_, c_, packed_;
};

class Bf16Products {
 public:
  void run(const ProductShape& shape, Tensor c, Tensor a, Tensor b);

  // Ops::begin_packed_weights(), Ops::end_packed_weights()
  void hold();
  void release();

 private:
  struct Held {
    const void* b;
    const Bf16Product* product;
    void* packed;
  };
  Bf16Product& of(const ProductShape& shape);
  const void* packed(Bf16Product& product, Tensor b, bool is_weight);

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<ProductShape, Bf16Product> products_;
  Scratch passing_{1};  // one b, for one product
  bool holding_ = false;
  std::vector<Held> held_;
  Stock stock_;  // what held_ lies in
};

}  // namespace dualpath
