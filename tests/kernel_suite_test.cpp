// The suite itself: the fp64 reference passes it and keeps to the contracts, and wrong kernels
// fail.
#include "tests/kernel_suite/kernel_suite.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

#include "tests/reference_ops/reference_device.h"
#include "tests/reference_ops/reference_ops.h"

namespace dualpath {
namespace {

INSTANTIATE_TEST_SUITE_P(Reference, KernelSuite,
                         testing::Values(Backend{"fp64 reference",
                                                 [] { return std::make_unique<ReferenceDevice>(); },
                                                 NumericTypes::all(DType::f64)}));

struct ListedOperand {
  Tensor tensor;
  OperandTerms terms;
};
class OperandList final : public Contract {
 public:
  std::vector<ListedOperand> all;

 private:
  void operand(const Tensor& tensor, const OperandTerms& terms) override {
    all.push_back({tensor, terms});
  }
};

std::vector<std::byte> content_of(const Tensor& tensor) {
  const auto* begin = static_cast<const std::byte*>(tensor.data);
  return {begin, begin + tensor.bytes()};
}

// The reference, which holds each call to what the operation's contract says: an operand that is
// read stays as it is, and what was in one that is written does not matter.
class ContractedOps final : public Ops {
 public:
  void run(const Operation& operation) override {
    OperandList operands;
    visit_operands(operation, operands);
    std::vector<std::vector<std::byte>> before;
    for (const ListedOperand& operand : operands.all) {
      if (operand.terms.access == Access::write && !is_read_in_place(operand, operands))
        spoil(operand);
    }
    for (const ListedOperand& operand : operands.all) before.push_back(content_of(operand.tensor));
    reference_.run(operation);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const auto& [tensor, terms] = operands.all[i];
      if (terms.access != Access::read || is_output(tensor, operands)) continue;
      EXPECT_EQ(content_of(tensor), before[i]) << name_of(operation) << " changes " << terms.name;
    }
  }

 private:
  static bool is_read_in_place(const ListedOperand& output, const OperandList& operands) {
    return std::ranges::any_of(operands.all, [&](const ListedOperand& other) {
      return other.terms.access == Access::read && other.tensor.data == output.tensor.data;
    });
  }
  static bool is_output(const Tensor& tensor, const OperandList& operands) {
    return std::ranges::any_of(operands.all, [&](const ListedOperand& other) {
      return other.terms.access != Access::read && other.tensor.data == tensor.data;
    });
  }
  // All bytes become those of a NaN. Of dqkv only some columns are written.
  static void spoil(const ListedOperand& output) {
    if (output.terms.name == std::string_view("dqkv") || output.tensor.data == nullptr) return;
    std::memset(output.tensor.data, 0xff, output.tensor.bytes());
  }

  ReferenceOps reference_;
};

class ContractedDevice final : public ReferenceDevice {
 public:
  std::unique_ptr<Ops> make_ops(Stream&) override { return std::make_unique<ContractedOps>(); }
};

INSTANTIATE_TEST_SUITE_P(Contract, KernelSuite,
                         testing::Values(Backend{
                             "held to its contracts",
                             [] { return std::make_unique<ContractedDevice>(); },
                             NumericTypes::all(DType::f64)}));

// A reference device whose kernels are WrongOps.
template <class WrongOps>
class WrongDevice final : public ReferenceDevice {
 public:
  std::unique_ptr<Ops> make_ops(Stream&) override { return std::make_unique<WrongOps>(); }
};

template <class WrongOps>
testing::AssertionResult agrees_with_wrong(const KernelCall& call) {
  WrongDevice<WrongOps> device;
  return agrees(device, NumericTypes::all(DType::f64), call);
}

// The last of `inner` terms is missing.
class DroppedTerm : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    ReferenceOps::run(operation);
    const auto& [c, a, b, flags] = std::get<op::Matmul>(operation);
    const std::int64_t inner = a.shape[1], cols = b.shape[1];
    for (std::int64_t i = 0; i < c.numel(); ++i) {
      c.as<double>()[i] -= a.as<double>()[(i / cols + 1) * inner - 1] *
                           b.as<double>()[(inner - 1) * cols + i % cols];
    }
  }
};

TEST(KernelSuiteFinds, OneDroppedTermOfAThousand) {
  // All terms positive: one is about 1e-3 of the sum.
  EXPECT_FALSE(agrees_with_wrong<DroppedTerm>([](Ops& ops, Operands& x) {
    ops.run(op::Matmul{.c = x.output("c", {3, 5}),
                       .a = x.input("a", {3, 1000}, 1, 2),
                       .b = x.input("b", {1000, 5}, 1, 2)});
  }));
}

class Accumulating : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    auto matmul = std::get<op::Matmul>(operation);
    matmul.flags.accumulate = !matmul.flags.accumulate;
    ReferenceOps::run(matmul);
  }
};

TEST(KernelSuiteFinds, OverwritingForAddingAndTheReverse) {
  for (const bool accumulate : {false, true}) {
    EXPECT_FALSE(agrees_with_wrong<Accumulating>([=](Ops& ops, Operands& x) {
      ops.run(op::Matmul{.c = accumulate ? x.inout("c", {3, 3}) : x.output("c", {3, 3}),
                         .a = x.input("a", {3, 3}),
                         .b = x.input("b", {3, 3}),
                         .flags = {.accumulate = accumulate}});
    }));
  }
}

// Position t sees j < t instead of j <= t (of one sequence; position 0 is left right).
class MaskOffByOne : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    ReferenceOps::run(operation);
    auto later = std::get<op::Attention>(operation);
    const std::int64_t T = later.shape.positions;
    later.shape.positions -= 1;
    for (Tensor* of_query : {&later.out_THE, &later.log_sum_TH, &later.q_THE})
      *of_query = of_query->slice(1, T);
    for (Tensor* of_key : {&later.k_TGE, &later.qkv_TC}) *of_key = of_key->slice(0, T - 1);
    ReferenceOps::run(later);
  }
};

// Attention crosses into the sequence before.
class OneSequence : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    auto attention = std::get<op::Attention>(operation);
    attention.shape.positions *= attention.shape.sequences;
    attention.shape.sequences = 1;
    ReferenceOps::run(attention);
  }
};

void call_attention(Ops& ops, Operands& x, AttentionShape shape) {
  const std::int64_t T = shape.tokens(), H = shape.heads, E = shape.head_size;
  ops.run(op::Attention{.out_THE = x.output("out", {T, H, E}),
                        .log_sum_TH = x.output("log_sum", {T, H}),
                        .q_THE = x.input("q", {T, H, E}),
                        .k_TGE = x.input("k", {T, H, E}),
                        .qkv_TC = x.input("qkv", {T, 3 * H * E}),
                        .shape = shape});
}

TEST(KernelSuiteFinds, AMaskOffByOne) {
  EXPECT_FALSE(agrees_with_wrong<MaskOffByOne>([](Ops& ops, Operands& x) {
    call_attention(ops, x, {1, 300, 1, 1, 8});
  }));
}

TEST(KernelSuiteFinds, AttentionAcrossSequences) {
  EXPECT_FALSE(agrees_with_wrong<OneSequence>([](Ops& ops, Operands& x) {
    call_attention(ops, x, {2, 150, 1, 1, 8});
  }));
}

class NoEpsilon : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    auto rms_norm = std::get<op::RmsNorm>(operation);
    rms_norm.epsilon = 0;
    ReferenceOps::run(rms_norm);
  }
};

TEST(KernelSuiteFinds, AnEpsilonThatIsIgnored) {
  EXPECT_FALSE(agrees_with_wrong<NoEpsilon>([](Ops& ops, Operands& x) {
    ops.run(op::RmsNorm{.out_TD = x.output("out", {5, 64}),
                        .rstd_T = x.output("rstd", {5}),
                        .x_TD = x.input("x", {5, 64}),
                        .weight_D = x.input("weight", {64}),
                        .epsilon = 1e-5});
  }));
}

// The kernel's second run differs from its first in one bit.
class Irreproducible : public ReferenceOps {
 public:
  void run(const Operation& operation) override {
    static int calls = 0;
    ReferenceOps::run(operation);
    double* out = std::get<op::RowDot>(operation).out_T.as<double>();
    if (++calls % 2 == 0) *out = std::nextafter(*out, 2);
  }
};

TEST(KernelSuiteFinds, RunsThatDiffer) {
  EXPECT_FALSE(agrees_with_wrong<Irreproducible>([](Ops& ops, Operands& x) {
    ops.run(op::RowDot{
        .out_T = x.output("out", {3}), .a_TD = x.input("a", {3, 5}), .b_TD = x.input("b", {3, 5})});
  }));
}

}  // namespace
}  // namespace dualpath
