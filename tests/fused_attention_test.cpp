// Attention by cuDNN, imitated on fake GPUs: the same bits whatever parts its backward pass takes,
// on the GPU that it is for; where there is no memory the run ends, where there is no plan the
// kernels of ours are told.
#include "core/cuda/libraries/fused_attention.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include "core/base/random.h"
#include "core/cuda/cuda_device.h"
#include "core/ops/kernel_tuner.h"
#include "tests/expect_error.h"
#include "tests/fake_cuda/machine.h"

namespace dualpath {
namespace {

using fake_cuda::MachineOptions;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t gib = std::size_t{1} << 30;

bool is(const AttentionShape& a, std::int64_t sequences, std::int64_t heads,
        std::int64_t kv_heads) {
  return a.sequences == sequences && a.heads == heads && a.kv_heads == kv_heads;
}

TEST(AttentionPart, IsTheLargestThatFits) {
  // 1.3 GB: all of it
  EXPECT_TRUE(is(gpu::attention_part({8, 2048, 16, 8, 128}), 8, 16, 8));
  // 3.2 GB, 19.3 GB: some sequences
  EXPECT_TRUE(is(gpu::attention_part({8, 4096, 12, 12, 64}), 4, 12, 12));
  EXPECT_TRUE(is(gpu::attention_part({16, 4096, 32, 32, 128}), 1, 32, 32));
  // 17 GB of one sequence: some heads of it, those of a key/value head together
  EXPECT_TRUE(is(gpu::attention_part({2, 16384, 32, 8, 128}), 1, 4, 1));
  // Too much in any part: the smallest
  EXPECT_TRUE(is(gpu::attention_part({2, 65536, 8, 8, 64}), 1, 1, 1));
  // Parts are alike: of 7 sequences 1.
  EXPECT_TRUE(is(gpu::attention_part({7, 4096, 12, 12, 64}), 1, 12, 12));
  for (const AttentionShape& s : {AttentionShape{8, 2048, 16, 8, 128}, {16, 4096, 32, 32, 128}})
    EXPECT_LE(gpu::attention_backward_bytes(gpu::attention_part(s)), 2 * gib);
}

// A row of log_sum of 25 numbers ends at no multiple of 16 bytes: four do.
TEST(AttentionPart, BeginsAtMultiplesOf16Bytes) {
  EXPECT_TRUE(is(gpu::attention_part({8, 25, 1, 1, 8}, 1), 4, 1, 1));
  EXPECT_TRUE(is(gpu::attention_part({3, 25, 1, 1, 8}, 1), 3, 1, 1));
  EXPECT_TRUE(is(gpu::attention_part({2, 25, 8, 8, 8}, 1), 1, 4, 4));
}

// Both passes of one attention on GPU `index`, with operands of random numbers.
class Attention {
 public:
  explicit Attention(const AttentionShape& shape, int index = 0)
      : shape_(shape), device_(make_cuda_device(index)), stream_(device_->make_stream()) {
    const std::int64_t tokens = shape.tokens(), queries = shape.heads * shape.head_size,
                       keys = shape.kv_heads * shape.head_size;
    for (const std::int64_t width :
         {queries, keys, queries + 2 * keys, queries, queries, queries, keys, queries + 2 * keys})
      memory_.push_back(device_->allocate(static_cast<std::size_t>(tokens * width) * 2));
    widths_ = {queries, keys, queries + 2 * keys, queries, queries,
               queries, keys, queries + 2 * keys};
    for (std::size_t i = 0; i < memory_.size(); ++i) fill(i);
  }
  // All bytes that the passes write.
  std::vector<std::byte> run(std::size_t most) {
    auto* stream = dynamic_cast<CudaStream*>(stream_.get());
    FusedAttention fused(*device_, *stream, most);
    EXPECT_EQ(fused.problem(shape_), "");
    const Tensor log_sum = fused.log_sum_NHP(shape_);
    fused.forward({.out_THE = tensor(4),
                   .log_sum_TH = {},
                   .q_THE = tensor(0),
                   .k_TGE = tensor(1),
                   .qkv_TC = tensor(2),
                   .shape = shape_},
                  log_sum);
    fused.backward({.dq_THE = tensor(5),
                    .dk_TGE = tensor(6),
                    .dqkv_TC = tensor(7),
                    .dout_THE = tensor(3),
                    .out_THE = tensor(4),
                    .log_sum_TH = {},
                    .q_THE = tensor(0),
                    .k_TGE = tensor(1),
                    .qkv_TC = tensor(2),
                    .shape = shape_},
                   log_sum);
    std::vector<std::byte> all;
    for (const Tensor& result : {log_sum, tensor(4), tensor(5), tensor(6), tensor(7)}) {
      std::vector<std::byte> bytes(result.bytes());
      device_->copy_to_host(bytes.data(), result, *stream);
      stream->synchronize();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

 private:
  Tensor tensor(std::size_t i) const {
    return {memory_[i].data(), DType::bf16, {shape_.tokens(), widths_[i]}};
  }
  void fill(std::size_t i) {
    std::vector<float> numbers(static_cast<std::size_t>(tensor(i).numel()));
    CounterRng(i + 1, "attention").uniform(numbers, 0, -1, 1);
    const std::vector<bfloat16> rounded(numbers.begin(), numbers.end());
    device_->copy_to_device(tensor(i), rounded.data(), *stream_);
    stream_->synchronize();
  }

  const AttentionShape shape_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::vector<Buffer> memory_;  // q, k, qkv, dout, out, dq, dk, dqkv
  std::vector<std::int64_t> widths_;
};

TEST(FusedAttention, PartsGiveTheSameBits) {
  for (const AttentionShape& shape :
       {AttentionShape{4, 12, 4, 2, 8}, {6, 7, 4, 4, 8}, {1, 16, 8, 2, 16}}) {
    const fake_cuda::Machine machine({.cudnn = MachineOptions::Cudnn::there});
    Attention attention(shape);
    const std::vector<std::byte> whole = attention.run(gib);
    const std::size_t all = gpu::attention_backward_bytes(shape);
    for (const std::size_t most : {all - 1, all / 2, all / 4, std::size_t{1}})
      EXPECT_EQ(attention.run(most), whole) << most << " of " << all << " bytes";
    EXPECT_LT(gpu::attention_workspace_bytes(shape, 1), gpu::attention_workspace_bytes(shape));
  }
}

// Whatever GPU the calling thread used before.
TEST(FusedAttention, IsMadeOnItsOwnGpu) {
  const fake_cuda::Machine machine({.cudnn = MachineOptions::Cudnn::there});
  const AttentionShape shape{2, 8, 2, 2, 8};
  Attention first(shape, 0), second(shape, 1);
  const std::vector<std::byte> expected = first.run(gib);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(second.run(gib), expected);
}

// One start of a program with one attention in it.
struct Start {
  std::unique_ptr<Device> device = make_cuda_device(0);
  std::unique_ptr<Stream> stream = device->make_stream();
  std::unique_ptr<Ops> ops = device->make_ops(*stream);
  std::unique_ptr<KernelTuner> tuner = ops->make_tuner();

  explicit Start(const AttentionShape& s) {
    const Tensor q{nullptr, DType::bf16, {s.tokens(), s.heads * s.head_size}};
    tuner->recorder().run(op::Attention{
        .out_THE = q, .log_sum_TH = q, .q_THE = q, .k_TGE = q, .qkv_TC = q, .shape = s});
  }
  std::string choice() { return tuner->choose(tuner->calls().at(0)); }
};

TEST(FusedAttention, LackOfMemoryEndsTheRun) {
  {
    const fake_cuda::Machine machine({.cudnn = MachineOptions::Cudnn::without_memory});
    Start start({2, 8, 2, 2, 8});
    EXPECT_THAT(error_of(ExitCode::configuration, [&] { start.choice(); }),
                AllOf(HasSubstr("DEVICE_ALLOCATION_FAILED"), HasSubstr("train.micro_batch_size")));
  }
  const fake_cuda::Machine machine(
      {.memory_bytes = 64 << 20, .cudnn = MachineOptions::Cudnn::there});
  Start start({8, 2048, 16, 8, 128});
  const auto told =
      AllOf(HasSubstr("out of memory on cuda 0"),
            HasSubstr("attention by cuDNN, 8 x 2048 positions, 16/8 heads of 128"),
            HasSubstr("a smaller train.micro_batch_size, more of parallel.recompute"));
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { start.choice(); }), told);
  // A later start, with a choice of the first.
  const KernelTuner::Choices chosen{{start.tuner->calls().at(0), "cuDNN"}};
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { start.tuner->keep_to(chosen); }), told);
}

TEST(FusedAttention, WhatCudnnCannotIsLeftToOurKernelsWithAReason) {
  {
    const fake_cuda::Machine machine({.cudnn = MachineOptions::Cudnn::there});
    EXPECT_EQ(Start({2, 8, 2, 2, 8}).choice(), "cuDNN");
    EXPECT_THAT(Start({2, 8, 2, 2, 4}).choice(),
                testing::StartsWith("own kernel: cuDNN has no plan"));
  }
  const fake_cuda::Machine machine;
  EXPECT_THAT(
      Start({2, 8, 2, 2, 8}).choice(),
      AllOf(testing::StartsWith("own kernel: libcudnn_graph.so"), HasSubstr("cannot be loaded")));
}

}  // namespace
}  // namespace dualpath
