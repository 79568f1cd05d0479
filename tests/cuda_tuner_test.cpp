// The tuner takes the fastest algorithm by the GPU's clock, and products keep to what was taken, in
// this start and in a later one.
#include <gmock/gmock.h>

#include "core/cuda/cuda_device.h"
#include "core/cuda/libraries/cuda_matmul.h"
#include "tests/expect_error.h"
#include "tests/fake_cuda/machine.h"

namespace dualpath {
namespace {

constexpr std::int64_t rows = 24, columns = 40, inner = 96;

// One start of a program with one product in it.
struct Start {
  std::unique_ptr<Device> device = make_cuda_device(0);
  std::unique_ptr<Stream> stream = device->make_stream();
  std::unique_ptr<Ops> ops = device->make_ops(*stream);
  std::unique_ptr<KernelTuner> tuner = ops->make_tuner();
  Buffer memory =
      device->allocate((rows * inner + inner * columns + rows * columns) * sizeof(float));
  Tensor a{memory.data(), DType::f32, {rows, inner}};
  Tensor b{memory.data() + a.bytes(), DType::f32, {inner, columns}};
  Tensor c{memory.data() + a.bytes() + b.bytes(), DType::f32, {rows, columns}};

  Start() { tuner->recorder().run(op::Matmul{.c = c, .a = a, .b = b}); }
  // Numbers whose sum depends on its order.
  std::vector<float> product() {
    std::vector<float> numbers(static_cast<std::size_t>(a.numel() + b.numel()));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = 1 / static_cast<float>(1 + i * 7919 % 1009);
    device->copy_to_device({memory.data(), DType::f32, {a.numel() + b.numel()}}, numbers.data(),
                           *stream);
    ops->run(op::Matmul{.c = c, .a = a, .b = b});
    std::vector<float> result(static_cast<std::size_t>(c.numel()));
    device->copy_to_host(result.data(), c, *stream);
    stream->synchronize();
    return result;
  }
};

TEST(CudaTuner, TakesTheFastest) {
  const fake_cuda::Machine machine({.product_milliseconds = {3, 1, 2}});
  Start start;
  const std::vector<std::string> calls = start.tuner->calls();
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(algorithm_of(start.tuner->choose(calls[0])).data[0], 2u);  // counted from 1
}

TEST(CudaTuner, ALaterStartGivesTheSameBits) {
  KernelTuner::Choices choices;
  std::vector<float> tuned, untuned;
  {
    const fake_cuda::Machine machine({.product_milliseconds = {3, 2, 1}});
    Start first, without;
    for (const std::string& call : first.tuner->calls()) choices[call] = first.tuner->choose(call);
    first.tuner->keep_to(choices);
    tuned = first.product();
    without.tuner->keep_to({});
    untuned = without.product();
  }
  EXPECT_NE(tuned, untuned);
  // Another algorithm would be the fastest now.
  const fake_cuda::Machine machine({.product_milliseconds = {1, 2, 3}});
  Start later;
  later.tuner->keep_to(choices);
  EXPECT_EQ(later.product(), tuned);
}

TEST(CudaTuner, RefusesWhatIsNoAlgorithm) {
  const fake_cuda::Machine machine;
  Start start;
  const std::string call = start.tuner->calls().front();
  EXPECT_THAT(error_of(ExitCode::checkpoint,
                       [&] {
                         start.tuner->keep_to({{call, "1 2 x"}});
                       }),
              testing::HasSubstr("'1 2 x' is no algorithm"));
  EXPECT_THAT(error_of(ExitCode::checkpoint,
                       [&] {
                         start.tuner->keep_to({{call, "9 0 0 0 0 0 0 0"}});
                       }),
              testing::HasSubstr(call));
}

}  // namespace
}  // namespace dualpath
