#include "core/base/tensor.h"

#include <fmt/ranges.h>

namespace dualpath {

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

Shape::Shape(std::span<const std::int64_t> dims) {
  CHECK(dims.size() <= max_rank, "a shape has at most {} dimensions, not {}", max_rank,
        dims.size());
  for (std::int64_t dim : dims) {
    CHECK(dim >= 0, "a dimension must not be negative, not {}", dim);
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  for (int dim = 0; dim < rank_; ++dim) product *= (*this)[dim];
  return product;
}

std::string Shape::str() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

namespace {
Shape with_rows(const Shape& shape, std::int64_t rows) {
  switch (shape.rank()) {
    case 1:
      return {rows};
    case 2:
      return {rows, shape[1]};
    case 3:
      return {rows, shape[1], shape[2]};
    default:
      return {rows, shape[1], shape[2], shape[3]};
  }
}
}  // namespace

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  CHECK(0 <= begin && begin <= end && end <= rows(), "rows [{}, {}) of {}", begin, end,
        shape.str());
  const std::int64_t row_elements = shape[0] == 0 ? 0 : shape.numel() / shape[0];
  auto* base = static_cast<std::byte*>(data);
  const auto offset = static_cast<std::size_t>(begin * row_elements) * size_of(dtype);
  return {base == nullptr ? nullptr : base + offset, dtype, with_rows(shape, end - begin)};
}

Tensor Tensor::row(std::int64_t i) const {
  const Tensor one = slice(i, i + 1);
  switch (shape.rank()) {
    case 1:
      return one;
    case 2:
      return one.reshape({shape[1]});
    case 3:
      return one.reshape({shape[1], shape[2]});
    default:
      return one.reshape({shape[1], shape[2], shape[3]});
  }
}

Tensor Tensor::reshape(Shape other) const {
  CHECK(other.numel() == numel(), "cannot view {} as {}", shape.str(), other.str());
  return {data, dtype, other};
}

}  // namespace dualpath
