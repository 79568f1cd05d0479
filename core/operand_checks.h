// How the checks of ops_checks.h state the contract of one kernel call.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

#include "core/tensor.h"

namespace dualpath {

inline bool overlap(const Tensor& a, const Tensor& b) {
  if (a.data == nullptr || b.data == nullptr || a.bytes() == 0 || b.bytes() == 0) return false;
  const std::less<const std::byte*> before;
  const auto* a_begin = static_cast<const std::byte*>(a.data);
  const auto* b_begin = static_cast<const std::byte*>(b.data);
  return before(a_begin, b_begin + b.bytes()) && before(b_begin, a_begin + a.bytes());
}

// The operands of one call, checked as they are listed.
class OperandChecks {
 public:
  explicit OperandChecks(const char* operation) : operation_(operation) {}

  // Plain names are for operands of the master type, the others for streams and operands
  // (NumericTypes). in_place: an input that may be the very memory of an output, but not a shifted
  // part of it.
  void output(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::master, name, tensor, shape, Role::output);
  }
  void input(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::master, name, tensor, shape, Role::input);
  }
  void in_place(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::master, name, tensor, shape, Role::in_place);
  }
  void stream_output(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::stream, name, tensor, shape, Role::output);
  }
  void stream_input(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::stream, name, tensor, shape, Role::input);
  }
  void stream_in_place(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::stream, name, tensor, shape, Role::in_place);
  }
  void operand_output(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::operand, name, tensor, shape, Role::output);
  }
  void operand_input(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::operand, name, tensor, shape, Role::input);
  }
  void operand_in_place(const char* name, const Tensor& tensor, const Shape& shape) {
    add(Kind::operand, name, tensor, shape, Role::in_place);
  }
  void typed_output(DType type, const char* name, const Tensor& tensor, const Shape& shape) {
    require_type(type, name, tensor);
    add(name, tensor, shape, Role::output);
  }
  void typed_input(DType type, const char* name, const Tensor& tensor, const Shape& shape) {
    require_type(type, name, tensor);
    add(name, tensor, shape, Role::input);
  }

  void rank(const char* name, const Tensor& tensor, int rank) const {
    CHECK(tensor.shape.rank() == rank, "{}: {} must have {} dimensions, is {}", operation_, name,
          rank, tensor.shape.str());
  }
  void absent(const char* name, const Tensor& tensor) const {
    CHECK(tensor.empty(), "{}: {} has no meaning here and must be empty, is {}", operation_, name,
          tensor.shape.str());
  }
  // Flat operands: any shape of that many elements, at least one dimension.
  Shape flat(const char* name, const Tensor& tensor, std::int64_t numel) const {
    CHECK(!tensor.empty() && tensor.numel() == numel, "{}: {} must have {} elements, is {}",
          operation_, name, numel, tensor.shape.str());
    return tensor.shape;
  }
  template <class... Arguments>
  void require(bool condition, fmt::format_string<Arguments...> message,
               Arguments&&... arguments) const {
    CHECK(condition, "{}: {}", operation_,
          fmt::format(message, std::forward<Arguments>(arguments)...));
  }

 private:
  enum class Role { output, input, in_place };
  enum class Kind { master, stream, operand };
  struct Operand {
    const char* name;
    Tensor tensor;
    Role role;
  };

  void require_kind(Kind kind, const char* name, const Tensor& tensor) {
    std::optional<DType>& type = types_[static_cast<std::size_t>(kind)];
    if (!type) type = tensor.dtype;
    require_type(*type, name, tensor);
  }
  void require_type(DType type, const char* name, const Tensor& tensor) const {
    CHECK(tensor.dtype == type, "{}: {} must be {}, is {}", operation_, name, name_of(type),
          name_of(tensor.dtype));
  }
  void add(Kind kind, const char* name, const Tensor& tensor, const Shape& shape, Role role) {
    require_kind(kind, name, tensor);
    add(name, tensor, shape, role);
  }
  void add(const char* name, const Tensor& tensor, const Shape& shape, Role role) {
    CHECK(tensor.shape == shape, "{}: {} must be {}, is {}", operation_, name, shape.str(),
          tensor.shape.str());
    for (int i = 0; i < num_operands_; ++i) {
      const Operand& other = operands_[static_cast<std::size_t>(i)];
      if (role != Role::output && other.role != Role::output) continue;
      const bool in_place = (role == Role::in_place || other.role == Role::in_place) &&
                            tensor.data == other.tensor.data &&
                            tensor.bytes() == other.tensor.bytes();
      CHECK(in_place || !overlap(tensor, other.tensor), "{}: {} and {} must not share memory",
            operation_, name, other.name);
    }
    operands_[static_cast<std::size_t>(num_operands_++)] = {name, tensor, role};
  }

  const char* operation_;
  std::array<std::optional<DType>, 3> types_;  // of each kind, once one of it was seen
  std::array<Operand, 16> operands_;
  int num_operands_ = 0;
};

}  // namespace dualpath
