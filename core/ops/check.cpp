#include "core/ops/check.h"

#include <array>
#include <functional>
#include <optional>

namespace dualpath {
namespace {

bool overlap(const Tensor& a, const Tensor& b) {
  if (a.data == nullptr || b.data == nullptr || a.bytes() == 0 || b.bytes() == 0) return false;
  const std::less<const std::byte*> before;
  const auto* a_begin = static_cast<const std::byte*>(a.data);
  const auto* b_begin = static_cast<const std::byte*>(b.data);
  return before(a_begin, b_begin + b.bytes()) && before(b_begin, a_begin + a.bytes());
}

bool is_same_memory(const Tensor& a, const Tensor& b) {
  return a.data == b.data && a.bytes() == b.bytes();
}

// The operands of one call, checked as they are listed.
class ContractCheck final : public Contract {
 public:
  explicit ContractCheck(const char* operation) : operation_(operation) {}

  void rank(const char* name, const Tensor& tensor, int rank) override {
    CHECK(tensor.shape.rank() == rank, "{}: {} must have {} dimensions, is {}", operation_, name,
          rank, tensor.shape.str());
  }

 private:
  struct Seen {
    const char* name;
    const Tensor* tensor;
    Access access;
  };

  void operand(const Tensor& tensor, const OperandTerms& terms) override {
    check_type(tensor, terms);
    check_extent(tensor, terms);
    for (int i = 0; i < num_operands_; ++i) {
      const Seen& other = operands_[static_cast<std::size_t>(i)];
      if (terms.access == Access::read && other.access == Access::read) continue;
      const bool in_place = terms.in_place == other.tensor && is_same_memory(tensor, *other.tensor);
      CHECK(in_place || !overlap(tensor, *other.tensor), "{}: {} and {} must not share memory",
            operation_, terms.name, other.name);
    }
    operands_.at(static_cast<std::size_t>(num_operands_++)) = {terms.name, &tensor, terms.access};
  }
  void absent(const char* name, const Tensor& tensor) override {
    CHECK(tensor.empty(), "{}: {} has no meaning here and must be empty, is {}", operation_, name,
          tensor.shape.str());
  }
  void refuse(const std::string& message) override { CHECK(false, "{}: {}", operation_, message); }

  void check_type(const Tensor& tensor, const OperandTerms& terms) {
    const DType wanted = wanted_type(terms.type_class, tensor.dtype);
    CHECK(tensor.dtype == wanted, "{}: {} must be {}, is {}", operation_, terms.name,
          name_of(wanted), name_of(tensor.dtype));
  }
  // `own` is the operand's type, which it keeps where it is the first of its kind.
  DType wanted_type(TypeClass type_class, DType own) {
    switch (type_class) {
      case TypeClass::any:
        return own;
      case TypeClass::i32:
        return DType::i32;
      case TypeClass::f64:
        return DType::f64;
      case TypeClass::master:
      case TypeClass::stream:
      case TypeClass::operand:
        break;
    }
    std::optional<DType>& type = types_.at(static_cast<std::size_t>(type_class));
    if (!type) type = own;
    return *type;
  }
  void check_extent(const Tensor& tensor, const OperandTerms& terms) const {
    const auto& [shape, flat_numel] = terms.extent;
    if (flat_numel < 0) {
      CHECK(tensor.shape == shape, "{}: {} must be {}, is {}", operation_, terms.name, shape.str(),
            tensor.shape.str());
    } else {
      CHECK(!tensor.empty() && tensor.numel() == flat_numel, "{}: {} must have {} elements, is {}",
            operation_, terms.name, flat_numel, tensor.shape.str());
    }
  }

  const char* operation_;
  std::array<std::optional<DType>, 3> types_;  // of master, stream, operand once one was seen
  std::array<Seen, 16> operands_;
  int num_operands_ = 0;
};

}  // namespace

void check(const Operation& operation) {
  std::visit(
      [](const auto& op) {
        ContractCheck call(op.name);
        op.operands(call);
      },
      operation);
}

}  // namespace dualpath
