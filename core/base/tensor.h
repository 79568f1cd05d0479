// Tensor: a plain, contiguous, row-major view of memory it does not own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/base/bfloat16.h"
#include "core/base/error.h"

namespace dualpath {

enum class DType : std::uint8_t { f32, f64, i32, bf16 };

constexpr std::size_t size_of(DType dtype) {
  return dtype == DType::f64 ? 8 : dtype == DType::bf16 ? 2 : 4;
}
const char* name_of(DType dtype);

template <class T>
inline constexpr DType dtype_of = [] {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, bfloat16>) return DType::bf16;
}();

// The types of a model's numbers: all the same, or master f32 and one or both of the others bf16.
struct NumericTypes {
  DType master = DType::f32;   // parameters, gradients, moments; statistics, gates, router, logits
  DType stream = DType::f32;   // the residual stream and its gradient
  DType operand = DType::f32;  // what matrix products and attention read and hand to one another

  static constexpr NumericTypes all(DType type) { return {type, type, type}; }
};

// Up to four dimensions; dim 0 varies slowest.
class Shape {
 public:
  static constexpr int max_rank = 4;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);
  int rank() const { return rank_; }
  std::int64_t operator[](int dim) const { return dims_[static_cast<std::size_t>(dim)]; }
  std::int64_t numel() const;  // product of the dimensions; 1 for rank 0
  bool operator==(const Shape&) const = default;
  std::string str() const;  // "[2, 3]"

 private:
  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;

  // A default Tensor means "absent" where an operation takes an optional operand.
  bool empty() const { return shape.rank() == 0; }
  std::int64_t numel() const { return empty() ? 0 : shape.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype); }
  std::int64_t rows() const { return shape[0]; }
  std::int64_t cols() const { return shape.rank() == 1 ? 1 : shape.numel() / shape[0]; }

  // Rows [begin, end) of dim 0, the same memory.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  // Row i of dim 0 with that dimension dropped (a rank-1 tensor gives shape [1]).
  Tensor row(std::int64_t i) const;
  // The same elements under another shape of equal numel.
  Tensor reshape(Shape other) const;

  template <class T>
  T* as() const {
    CHECK(dtype == dtype_of<T>, "tensor is {}, asked for as {}", name_of(dtype),
          name_of(dtype_of<T>));
    return static_cast<T*>(data);
  }
};

}  // namespace dualpath
