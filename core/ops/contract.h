// How an operation states its contract: what it does to each operand, the operand's type and shape,
// and what may share memory. The contract is stated once, in operands() of the operation's struct;
// the checks (core/ops/check.h), the observer (core/device/observed_device.h) and the tests visit
// it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "core/base/tensor.h"

namespace dualpath {

enum class Access : char { read = 'r', write = 'w', update = 'u' };  // update: read and written

// The type of an operand's elements. master, stream, operand: those of NumericTypes, the same for
// all operands of a call that are of this class. any: what else the contract requires.
enum class TypeClass : std::uint8_t { master, stream, operand, i32, f64, any };

// A shape, or any shape with this many elements and at least one dimension.
struct Extent {
  Extent(const Shape& exact) : shape(exact) {}
  Extent(std::initializer_list<std::int64_t> dims) : shape(dims) {}

  Shape shape;
  std::int64_t flat_numel = -1;  // -1: exactly `shape`
};
inline Extent flat(std::int64_t numel) {
  Extent extent{Shape()};
  extent.flat_numel = numel;
  return extent;
}

struct OperandTerms {
  const char* name;
  Access access;
  TypeClass type_class;
  Extent extent;
  // The output whose memory this operand may be, all of it and at the same place.
  const Tensor* in_place = nullptr;
};

class Contract {
 public:
  virtual ~Contract() = default;

  // The operands, in the order of the operation's fields. write: `=`; update: `+=`, or input and
  // output.
  void write(const char* name, const Tensor& tensor, TypeClass type_class, const Extent& extent) {
    operand(tensor, {name, Access::write, type_class, extent});
  }
  void update(const char* name, const Tensor& tensor, TypeClass type_class, const Extent& extent) {
    operand(tensor, {name, Access::update, type_class, extent});
  }
  void read(const char* name, const Tensor& tensor, TypeClass type_class, const Extent& extent) {
    operand(tensor, {name, Access::read, type_class, extent});
  }
  void read_in_place(const char* name, const Tensor& tensor, TypeClass type_class,
                     const Extent& extent, const Tensor& output) {
    operand(tensor, {name, Access::read, type_class, extent, &output});
  }

  // The same of an operand that is there only if `present`, and must be empty otherwise.
  void write_if(bool present, const char* name, const Tensor& tensor, TypeClass type_class,
                const Extent& extent) {
    present ? write(name, tensor, type_class, extent) : absent(name, tensor);
  }
  void update_if(bool present, const char* name, const Tensor& tensor, TypeClass type_class,
                 const Extent& extent) {
    present ? update(name, tensor, type_class, extent) : absent(name, tensor);
  }
  void read_if(bool present, const char* name, const Tensor& tensor, TypeClass type_class,
               const Extent& extent) {
    present ? read(name, tensor, type_class, extent) : absent(name, tensor);
  }

  // What must hold besides.
  virtual void rank(const char* /*name*/, const Tensor& /*tensor*/, int /*rank*/) {}
  template <class... Arguments>
  void require(bool condition, fmt::format_string<Arguments...> message, Arguments&&... arguments) {
    if (!condition) refuse(fmt::format(message, std::forward<Arguments>(arguments)...));
  }

 private:
  // `tensor` is the operation's field itself.
  virtual void operand(const Tensor& tensor, const OperandTerms& terms) = 0;
  virtual void absent(const char* /*name*/, const Tensor& /*tensor*/) {}
  virtual void refuse(const std::string& /*message*/) {}
};

inline double bytes_of_rows(const Tensor& tensor, std::int64_t rows) {
  return static_cast<double>(static_cast<std::size_t>(rows * tensor.cols()) *
                             size_of(tensor.dtype));
}

}  // namespace dualpath
