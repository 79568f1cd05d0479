// Host arrays with tensor views, for tests that call the fp64 reference.
#pragma once

#include <limits>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "core/base/tensor.h"

namespace dualpath {

template <class T>
struct ArrayOf {
  std::vector<T> values;
  Shape shape;

  Tensor tensor() { return {values.data(), dtype_of<T>, shape}; }
  operator Tensor() { return tensor(); }
  T& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  const T& operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }
  std::int64_t size() const { return static_cast<std::int64_t>(values.size()); }
};

using Array = ArrayOf<double>;
using IdArray = ArrayOf<std::int32_t>;

inline Array constant(Shape shape, double value) {
  return {std::vector<double>(static_cast<std::size_t>(shape.numel()), value), shape};
}

// For `=` outputs: what a kernel leaves unwritten stays a NaN.
inline Array poisoned(Shape shape) {
  return constant(shape, std::numeric_limits<double>::quiet_NaN());
}

// Fresh numbers in [low, high), a function of the name.
inline Array uniform(std::string_view name, Shape shape, double low = -1, double high = 1) {
  Array array = constant(shape, 0);
  CounterRng(1, name).uniform(std::span<double>(array.values), 0, low, high);
  return array;
}

}  // namespace dualpath
