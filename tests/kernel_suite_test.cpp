// The suite itself: the fp64 reference passes it, and wrong kernels fail.
#include "tests/kernel_suite/kernel_suite.h"

#include <gtest/gtest.h>

#include "tests/reference_ops/reference_device.h"
#include "tests/reference_ops/reference_ops.h"

namespace dualpath {
namespace {

INSTANTIATE_TEST_SUITE_P(Reference, KernelSuite,
                         testing::Values(Backend{"fp64 reference",
                                                 [] { return std::make_unique<ReferenceDevice>(); },
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
  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    ReferenceOps::matmul(c, a, b, flags);
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
    ops.matmul(x.output("c", {3, 5}), x.input("a", {3, 1000}, 1, 2), x.input("b", {1000, 5}, 1, 2),
               {});
  }));
}

class Accumulating : public ReferenceOps {
 public:
  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    flags.accumulate = !flags.accumulate;
    ReferenceOps::matmul(c, a, b, flags);
  }
};

TEST(KernelSuiteFinds, OverwritingForAddingAndTheReverse) {
  for (const bool accumulate : {false, true}) {
    EXPECT_FALSE(agrees_with_wrong<Accumulating>([=](Ops& ops, Operands& x) {
      ops.matmul(accumulate ? x.inout("c", {3, 3}) : x.output("c", {3, 3}), x.input("a", {3, 3}),
                 x.input("b", {3, 3}), {.accumulate = accumulate});
    }));
  }
}

// Position t sees j < t instead of j <= t (of one sequence; position 0 is left right).
class MaskOffByOne : public ReferenceOps {
 public:
  void attention(Tensor out, Tensor log_sum, Tensor q, Tensor k, Tensor qkv,
                 AttentionShape shape) override {
    const std::int64_t T = shape.positions;
    ReferenceOps::attention(out, log_sum, q, k, qkv, shape);
    shape.positions -= 1;
    ReferenceOps::attention(out.slice(1, T), log_sum.slice(1, T), q.slice(1, T), k.slice(0, T - 1),
                            qkv.slice(0, T - 1), shape);
  }
};

// Attention crosses into the sequence before.
class OneSequence : public ReferenceOps {
 public:
  void attention(Tensor out, Tensor log_sum, Tensor q, Tensor k, Tensor qkv,
                 AttentionShape shape) override {
    shape.positions *= shape.sequences;
    shape.sequences = 1;
    ReferenceOps::attention(out, log_sum, q, k, qkv, shape);
  }
};

void call_attention(Ops& ops, Operands& x, AttentionShape shape) {
  const std::int64_t T = shape.tokens(), H = shape.heads, E = shape.head_size;
  ops.attention(x.output("out", {T, H, E}), x.output("log_sum", {T, H}), x.input("q", {T, H, E}),
                x.input("k", {T, H, E}), x.input("qkv", {T, 3 * H * E}), shape);
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
  void rms_norm(Tensor out, Tensor rstd, Tensor x, Tensor weight, double) override {
    ReferenceOps::rms_norm(out, rstd, x, weight, 0);
  }
};

TEST(KernelSuiteFinds, AnEpsilonThatIsIgnored) {
  EXPECT_FALSE(agrees_with_wrong<NoEpsilon>([](Ops& ops, Operands& x) {
    ops.rms_norm(x.output("out", {5, 64}), x.output("rstd", {5}), x.input("x", {5, 64}),
                 x.input("weight", {64}), 1e-5);
  }));
}

// The kernel's second run differs from its first in one bit.
class Irreproducible : public ReferenceOps {
 public:
  void row_dot(Tensor out, Tensor a, Tensor b) override {
    static int calls = 0;
    ReferenceOps::row_dot(out, a, b);
    if (++calls % 2 == 0) out.as<double>()[0] = std::nextafter(out.as<double>()[0], 2);
  }
};

TEST(KernelSuiteFinds, RunsThatDiffer) {
  EXPECT_FALSE(agrees_with_wrong<Irreproducible>([](Ops& ops, Operands& x) {
    ops.row_dot(x.output("out", {3}), x.input("a", {3, 5}), x.input("b", {3, 5}));
  }));
}

}  // namespace
}  // namespace dualpath
