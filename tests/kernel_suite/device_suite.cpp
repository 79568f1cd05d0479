// Memory, streams and the refusal of wrong operands.
#include <cstring>
#include <numeric>
#include <vector>

#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

TEST_P(KernelSuite, MemoryIsZeroedAlignedAndCounted) {
  const auto stream = device_->make_stream();
  const std::size_t before = device_->num_allocations();
  for (const std::size_t bytes : {4u, 4096u, 100001u}) {
    const Buffer buffer = device_->allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
    EXPECT_GE(buffer.bytes(), bytes);
    std::vector<std::byte> host(bytes / 4 * 4, std::byte{1});
    const Tensor tensor{buffer.data(), DType::i32, {static_cast<std::int64_t>(bytes / 4)}};
    device_->copy_to_host(host.data(), tensor, *stream);
    stream->synchronize();
    EXPECT_EQ(host, std::vector<std::byte>(host.size()));
  }
  EXPECT_EQ(device_->num_allocations(), before + 3);
}

TEST_P(KernelSuite, CopiesArriveInStreamOrder) {
  const auto first = device_->make_stream(), second = device_->make_stream();
  std::vector<std::int32_t> sent(1000), received(1000);
  std::iota(sent.begin(), sent.end(), 7);
  const Buffer buffer = device_->allocate(4000);
  const Tensor tensor{buffer.data(), DType::i32, {1000}};
  device_->copy_to_device(tensor, sent.data(), *first);
  second->wait_for(*first);
  device_->copy_to_host(received.data(), tensor, *second);
  second->synchronize();
  EXPECT_EQ(received, sent);
}

// Absent operands are wrong for every operation but Fill; the checks themselves have a test of
// their own.
template <std::size_t index = 0>
void expect_refusals(Ops& ops) {
  if constexpr (index < std::variant_size_v<Operation>) {
    using Op = std::variant_alternative_t<index, Operation>;
    if constexpr (!std::is_same_v<Op, op::Fill>) {
      EXPECT_THROW(ops.run(Op{}), Error) << Op::name;
    }
    expect_refusals<index + 1>(ops);
  }
}

TEST_P(KernelSuite, EveryOperationChecksItsOperands) {
  const auto stream = device_->make_stream();
  expect_refusals(*device_->make_ops(*stream));
}

}  // namespace
}  // namespace dualpath
