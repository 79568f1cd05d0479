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

// Absent operands are wrong for every operation; the checks themselves have a test of their own.
TEST_P(KernelSuite, EveryOperationChecksItsOperands) {
  const auto stream = device_->make_stream();
  const auto made = device_->make_ops(*stream);
  Ops& ops = *made;
  const Tensor x;
  const AttentionShape shape{1, 1, 1, 1, 2};
  const auto two_sigmoid = GateMode::two_sigmoid;
  const auto states = GateTarget::states;
  const VocabularyRows rows{0, 1};
  const std::pair<const char*, std::function<void()>> calls[] = {
      {"copy", [&] { ops.copy(x, x); }},
      {"add", [&] { ops.add(x, x); }},
      {"sum", [&] { ops.sum(x, x, x); }},
      {"embedding", [&] { ops.embedding(x, x, x, rows); }},
      {"embedding_backward", [&] { ops.embedding_backward(x, x, x, rows); }},
      {"matmul", [&] { ops.matmul(x, x, x, {}); }},
      {"rms_norm", [&] { ops.rms_norm(x, x, x, x, 1); }},
      {"rms_norm_backward", [&] { ops.rms_norm_backward(x, x, x, x, x, x); }},
      {"residual", [&] { ops.residual(x, x, x, x); }},
      {"residual_rms_norm", [&] { ops.residual_rms_norm(x, x, x, x, x, x, x, 1); }},
      {"residual_backward", [&] { ops.residual_backward(x, x, x); }},
      {"residual_gain_backward", [&] { ops.residual_gain_backward(x, x, x, x); }},
      {"qk_rope", [&] { ops.qk_rope(x, x, x, x, x, x, x, x, shape, QkNorm::none, 1); }},
      {"qk_rope_backward",
       [&] { ops.qk_rope_backward(x, x, x, x, x, x, x, x, x, x, x, shape, QkNorm::none); }},
      {"attention", [&] { ops.attention(x, x, x, x, x, shape); }},
      {"attention_backward", [&] { ops.attention_backward(x, x, x, x, x, x, x, x, x, shape); }},
      {"swiglu", [&] { ops.swiglu(x, x); }},
      {"swiglu_backward", [&] { ops.swiglu_backward(x, x, x, x); }},
      {"mixture_step", [&] { ops.mixture_step(x, x, x, x, x, x, x, {}); }},
      {"row_dot", [&] { ops.row_dot(x, x, x); }},
      {"mixture_weights_backward", [&] { ops.mixture_weights_backward(x, x, x, 1); }},
      {"mixture_step_backward", [&] { ops.mixture_step_backward(x, x, x, x, x, x, x, x, {}); }},
      {"expected_iterations", [&] { ops.expected_iterations(x, x); }},
      {"gate", [&] { ops.gate(x, x, x, x, x, x, x, two_sigmoid, states); }},
      {"gate_backward",
       [&] { ops.gate_backward(x, x, x, x, x, x, x, x, x, x, x, x, two_sigmoid, states); }},
      {"gate_regularizer", [&] { ops.gate_regularizer(x, x, x, 1, 1, 1); }},
      {"path_readout", [&] { ops.path_readout(x, x, x, x, x); }},
      {"column_sums", [&] { ops.column_sums(x, x); }},
      {"cross_entropy", [&] { ops.cross_entropy(x, {}, x, x, 1); }},
      {"vocabulary_statistics", [&] { ops.vocabulary_statistics(x, x, x, rows); }},
      {"sharded_cross_entropy", [&] { ops.sharded_cross_entropy(x, {}, x, x, x, rows, 1); }},
      {"adamw", [&] { ops.adamw(x, x, x, {}, x, {}); }},
      {"sum_of_squares", [&] { ops.sum_of_squares(x, x); }},
  };
  for (const auto& [name, call] : calls) EXPECT_THROW(call(), Error) << name;
}

}  // namespace
}  // namespace dualpath
