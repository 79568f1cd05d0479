// The CUDA backend passes the kernel suite, where there is a GPU; what it says where there is none.
#include "core/cuda/cuda_device.h"

#include <gmock/gmock.h>
#include <thread>

#include "tests/expect_error.h"
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

std::vector<Backend> cuda_backends() {
  const std::pair<const char*, NumericTypes> numbers[] = {
      {"fp32", {}},
      {"bf16", {.operand = DType::bf16}},
      {"bf16 stream", {.stream = DType::bf16, .operand = DType::bf16}}};
  std::vector<Backend> backends;
  if (find_cuda_devices().count == 0) return backends;
  for (const auto& [name, types] : numbers)
    backends.push_back({name, [] { return make_cuda_device(0); }, types});
  return backends;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KernelSuite);
INSTANTIATE_TEST_SUITE_P(Cuda, KernelSuite, testing::ValuesIn(cuda_backends()));

TEST(CudaDevice, IsThere) {
  const CudaDevices gpus = find_cuda_devices();
  EXPECT_EQ(gpus.count == 0, !gpus.problem.empty());
  EXPECT_THAT(cuda_libraries(), testing::StartsWith("CUDA "));
  if (gpus.count == 0) GTEST_SKIP() << "no GPU here: " << gpus.problem;
  EXPECT_THAT(make_cuda_device(0)->name(), testing::StartsWith("cuda 0 ("));
}

TEST(CudaDevice, NamesTheMemoryItCannotHave) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto device = make_cuda_device(0);
  const std::string message =
      error_of(ExitCode::configuration, [&] { device->allocate(1ull << 50); });
  EXPECT_THAT(message, testing::HasSubstr("1.13e+06 GB are asked for"));
  EXPECT_THAT(message, testing::ContainsRegex("[0-9.]+ of [0-9.]+ GB are free"));
  EXPECT_EQ(device->num_allocations(), 0u);
}

// What the host changes after an upload of any size, and after it has waited, is its own affair.
TEST(CudaDevice, UploadsManyPieces) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto device = make_cuda_device(0);
  const auto stream = device->make_stream();
  constexpr std::int64_t numel = 5'000'001;
  const Buffer buffer = device->allocate(numel * sizeof(std::int32_t));
  const Tensor tensor{buffer.data(), DType::i32, {numel}};
  std::vector<std::int32_t> sent(numel), received(numel);
  for (std::int64_t i = 0; i < numel; ++i) sent[static_cast<std::size_t>(i)] = i % 1009;
  device->copy_to_device(tensor, sent.data(), *stream);
  device->copy_to_host(received.data(), tensor, *stream);
  stream->synchronize();
  EXPECT_TRUE(received == sent);
}

TEST(CudaDevice, StreamsFinishBeforeTheyGo) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto device = make_cuda_device(0);
  const Buffer buffer = device->allocate(4000);
  const Tensor tensor{buffer.data(), DType::f32, {1000}};
  const std::vector<float> sent(1000, 3);
  std::vector<float> received(1000);
  device->copy_to_device(tensor, sent.data(), *device->make_stream());
  const auto stream = device->make_stream();
  device->copy_to_host(received.data(), tensor, *stream);
  stream->synchronize();
  EXPECT_EQ(received, sent);
}

// A stream of the host's threads and one of the GPU wait for each other.
TEST(CudaDevice, ThreadsAndKernelsWaitForOneAnother) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto device = make_cuda_device(0);
  const auto kernels = device->make_stream(), thread = device->make_threaded_stream();
  const auto ops = device->make_ops(*kernels);
  const Buffer buffer = device->allocate(4000);
  const Tensor tensor{buffer.data(), DType::f32, {1000}};
  std::vector<float> host(1000);
  for (int round = 0; round < 20; ++round) {
    ops->run(op::Fill{.out = tensor, .value = static_cast<double>(round)});
    thread->wait_for(*kernels);
    device->copy_to_host(host.data(), tensor, *thread);
    thread->run([&host] {
      for (float& x : host) x += 1;
    });
    device->copy_to_device(tensor, host.data(), *thread);
    kernels->wait_for(*thread);
    ops->run(op::Sum{.out = tensor, .a = tensor, .b = tensor});
  }
  device->copy_to_host(host.data(), tensor, *kernels);
  kernels->synchronize();
  EXPECT_EQ(host, std::vector<float>(1000, 40));
}

// A kernel's sums use some shared memory besides what its width needs.
TEST(CudaDevice, LaunchesRowsOfAnyWidthThatFits) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto device = make_cuda_device(0);
  const auto stream = device->make_stream();
  const auto ops = device->make_ops(*stream);
  const auto run = [&](std::int64_t width) {
    const Buffer buffer = device->allocate(static_cast<std::size_t>(6 * width) * sizeof(float));
    const Tensor rows{buffer.data(), DType::f32, {6, width}};
    const auto row = [&](std::int64_t i) { return rows.slice(i, i + 1); };
    ops->run(op::RmsNormBackward{.dx_TD = row(0),
                                 .dweight_D = rows.row(1),
                                 .dout_TD = row(2),
                                 .x_TD = row(3),
                                 .weight_D = rows.row(4),
                                 .rstd_T = rows.row(5).slice(0, 1)});
    stream->synchronize();
  };
  for (const std::int64_t width : {12288 - 64, 12288 - 60, 12288, 12292})
    EXPECT_NO_THROW(run(width));
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { run(1 << 20); }),
              testing::HasSubstr("too wide"));
}

// Whatever the GPU that the calling thread used before.
TEST(CudaDevice, WorksForAnyThreadBesideOtherGpus) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  std::vector<std::unique_ptr<Device>> devices;
  for (int index = 0; index < find_cuda_devices().count; ++index)
    devices.push_back(make_cuda_device(index));
  for (const auto& device : devices) {
    const auto stream = device->make_stream();
    const auto ops = device->make_ops(*stream);
    const Buffer buffer = device->allocate(3 * sizeof(float));
    const Tensor x{buffer.data(), DType::f32, {1, 1}}, y{x.as<float>() + 1, DType::f32, {1, 1}};
    const Tensor z{x.as<float>() + 2, DType::f32, {1, 1}};
    const auto on_another_thread = [&](const std::function<void()>& task) {
      std::thread(task).join();
    };
    on_another_thread([&] { ops->run(op::Fill{.out = x, .value = 3}); });
    on_another_thread([&] { ops->run(op::Fill{.out = y, .value = 5}); });
    on_another_thread([&] { ops->run(op::Matmul{.c = z, .a = x, .b = y}); });
    on_another_thread(
        [&] { ops->run(op::Matmul{.c = z, .a = x, .b = y, .flags = {.accumulate = true}}); });
    float product = 0;
    on_another_thread([&] {
      device->copy_to_host(&product, z, *stream);
      stream->synchronize();
    });
    EXPECT_EQ(product, 30);
  }
}

}  // namespace
}  // namespace dualpath
