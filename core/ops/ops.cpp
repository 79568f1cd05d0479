#include "core/ops/ops.h"

namespace dualpath {
namespace {

class ByteCount final : public Contract {
 public:
  double bytes = 0;

 private:
  void operand(const Tensor& tensor, const OperandTerms& terms) override {
    bytes += static_cast<double>(tensor.bytes()) * (terms.access == Access::update ? 2 : 1);
  }
};

}  // namespace

const char* name_of(const Operation& operation) {
  return std::visit(
      [](const auto& op) {
        if constexpr (requires { op.label(); }) {
          return op.label();
        } else {
          return op.name;
        }
      },
      operation);
}

double flops_of(const Operation& operation) {
  return std::visit(
      [](const auto& op) -> double {
        if constexpr (requires { op.flops(); }) return op.flops();
        return 0;
      },
      operation);
}

double bytes_of(const Operation& operation) {
  return std::visit(
      [](const auto& op) -> double {
        ByteCount count;
        op.operands(count);
        if constexpr (requires { op.untouched_bytes(); }) return count.bytes - op.untouched_bytes();
        return count.bytes;
      },
      operation);
}

void visit_operands(const Operation& operation, Contract& contract) {
  std::visit([&](const auto& op) { op.operands(contract); }, operation);
}

}  // namespace dualpath
