// The fake CUDA runtime: work runs as late as CUDA allows, missing waits show, misuse is refused.
#include <cstring>
#include <gmock/gmock.h>
#include <set>
#include <thread>

#include "core/cuda/cuda_device.h"
#include "tests/fake_cuda/launch.h"
#include "tests/fake_cuda/machine.h"

namespace dualpath::fake_cuda {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::size_t bytes = 4000;

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  return stream;
}
cudaEvent_t make_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event = nullptr;
  EXPECT_EQ(cudaEventCreateWithFlags(&event, flags), cudaSuccess);
  return event;
}
std::uint8_t* on_device(std::size_t size = bytes) {
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, size), cudaSuccess);
  return static_cast<std::uint8_t*>(memory);
}
std::uint8_t* pinned(std::uint8_t value) {
  void* memory = nullptr;
  EXPECT_EQ(cudaHostAlloc(&memory, bytes, 0), cudaSuccess);
  std::memset(memory, value, bytes);
  return static_cast<std::uint8_t*>(memory);
}
cudaError_t upload(void* to, const void* from, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
}
cudaError_t download(void* to, const void* from, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
}

TEST(FakeCuda, NoMachineHasNoGpu) {
  EXPECT_EQ(find_cuda_devices().count, 0);
  const Machine machine;
  EXPECT_EQ(find_cuda_devices().count, 2);
}

TEST(FakeCuda, WorkRunsWhenSomebodyWaits) {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  std::uint8_t *device = on_device(), *from = pinned(1), *to = pinned(2);
  upload(device, from, stream);
  download(to, device, stream);
  EXPECT_EQ(to[bytes - 1], 2);
  std::memset(from, 3, bytes);  // too early
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(to[bytes - 1], 3);
}

// Memory that is not pinned is read when the copy is issued, and written before it returns.
TEST(FakeCuda, CopiesOfPageableMemory) {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  std::uint8_t* device = on_device();
  std::vector<std::uint8_t> from(bytes, 1), to(bytes, 2);
  upload(device, from.data(), stream);
  from.assign(bytes, 3);
  download(to.data(), device, stream);
  EXPECT_EQ(to, std::vector<std::uint8_t>(bytes, 1));
}

// What one stream reads of what another writes, between them what is given.
std::set<int> seen_by_another_stream(
    const std::function<void(cudaStream_t, cudaStream_t)>& between) {
  std::set<int> seen;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Machine machine({.seed = seed});
    const cudaStream_t writer = make_stream(), reader = make_stream();
    std::uint8_t *device = on_device(), *from = pinned(1), *to = pinned(2);
    upload(device, from, writer);
    between(writer, reader);
    download(to, device, reader);
    cudaStreamSynchronize(reader);
    seen.insert(to[0]);
  }
  return seen;
}

TEST(FakeCuda, AMissingWaitShows) {
  EXPECT_THAT(seen_by_another_stream([](cudaStream_t, cudaStream_t) {}), ElementsAre(1, 0xff));
}

TEST(FakeCuda, WaitsOrderStreams) {
  const auto wait_for_event = [](cudaStream_t writer, cudaStream_t reader) {
    const cudaEvent_t event = make_event();
    cudaEventRecord(event, writer);
    cudaStreamWaitEvent(reader, event, 0);
    cudaEventRecord(event, reader);  // another moment, which the wait does not look at
    cudaEventDestroy(event);
  };
  EXPECT_THAT(seen_by_another_stream(wait_for_event), ElementsAre(1));
  const auto wait_for_an_event_of_nothing = [](cudaStream_t, cudaStream_t reader) {
    cudaStreamWaitEvent(reader, make_event(), 0);
  };
  EXPECT_THAT(seen_by_another_stream(wait_for_an_event_of_nothing), ElementsAre(1, 0xff));
  const auto wait_on_the_host = [](cudaStream_t writer, cudaStream_t) {
    const cudaEvent_t event = make_event();
    cudaEventRecord(event, writer);
    cudaEventSynchronize(event);
  };
  EXPECT_THAT(seen_by_another_stream(wait_on_the_host), ElementsAre(1));
  const auto wait_for_the_device = [](cudaStream_t, cudaStream_t) { cudaDeviceSynchronize(); };
  EXPECT_THAT(seen_by_another_stream(wait_for_the_device), ElementsAre(1));
  const auto free_some_memory = [](cudaStream_t, cudaStream_t) { cudaFree(on_device()); };
  EXPECT_THAT(seen_by_another_stream(free_some_memory), ElementsAre(1));
}

TEST(FakeCuda, StreamsThatAreDestroyedFinish) {
  Machine machine;
  const cudaStream_t stream = make_stream();
  bool done = false;
  machine.enqueue(stream, [&] { done = true; });
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_FALSE(done);
  cudaDeviceSynchronize();
  EXPECT_TRUE(done);
}

TEST(FakeCuda, PolledWorkLetsOtherStreamsGoOn) {
  Machine machine;
  const cudaStream_t stream = make_stream(), other = make_stream();
  bool arrived = false;
  machine.poll(stream, [&] { return arrived; });
  machine.enqueue(other, [&] { arrived = true; });
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
}

TEST(FakeCuda, WorkGoesOnWhenPatienceIsOver) {
  Machine machine({.patience = std::chrono::milliseconds(1)});
  std::atomic<bool> done = false;
  machine.enqueue(make_stream(), [&] {
    done = true;
    done.notify_one();
  });
  done.wait(false);
  SUCCEED();
}

TEST(FakeCuda, SeveralThreadsWait) {
  Machine machine;
  std::vector<std::thread> threads;
  std::atomic<int> sum = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      cudaSetDevice(1);
      const cudaStream_t stream = make_stream();
      for (int k = 0; k < 100; ++k) {
        machine.enqueue(stream, [&] { ++sum; });
        if (k % 10 == 0) cudaStreamSynchronize(stream);
      }
      cudaStreamSynchronize(stream);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 400);
}

TEST(FakeCudaDeathTest, TheHostCannotTouchDeviceMemoryNorWhatWasFreed) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const Machine machine;
  volatile std::uint8_t* device = on_device();
  EXPECT_DEATH(device[0] = 1, "");
  volatile std::uint8_t* host = pinned(1);
  EXPECT_DEATH(
      {
        cudaFreeHost(const_cast<std::uint8_t*>(host));
        host[0] = 1;
      },
      "");
}

TEST(FakeCuda, Time) {
  Machine machine;
  const cudaStream_t stream = make_stream();
  const cudaEvent_t begin = make_event(cudaEventDefault), end = make_event(cudaEventDefault);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorInvalidResourceHandle);
  cudaEventRecord(begin, stream);
  machine.enqueue(
      stream, [] {}, 0.25);
  machine.enqueue(
      stream, [] {}, 0.5);
  cudaEventRecord(end, stream);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorNotReady);
  cudaEventSynchronize(end);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
  EXPECT_EQ(milliseconds, 0.75F);
}

TEST(FakeCuda, Leaks) {
  const Machine machine;
  std::uint8_t *device = on_device(8), *host = pinned(0);
  const cudaStream_t stream = make_stream();
  const cudaEvent_t event = make_event();
  EXPECT_THAT(machine.leaks(), testing::SizeIs(4));
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(host), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_THAT(machine.leaks(), IsEmpty());
}

TEST(FakeCuda, RefusesWrongMemory) {
  const Machine machine({.memory_bytes = 1 << 20});
  const cudaStream_t stream = make_stream();
  std::uint8_t *device = on_device(), *host = pinned(0);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 1 << 20), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(upload(host, device, stream), cudaErrorInvalidValue);
  EXPECT_EQ(download(device, host, stream), cudaErrorInvalidValue);
  EXPECT_EQ(upload(device + 1, host, stream), cudaErrorInvalidValue);  // one byte too many
  EXPECT_EQ(upload(device, host + 1, stream), cudaErrorInvalidValue);
  EXPECT_EQ(upload(device, machine.memory().near(device), stream), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host, 0, bytes), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device + 256), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(device), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaErrorInvalidValue);
  EXPECT_EQ(upload(device, host, stream), cudaErrorInvalidValue);
}

TEST(FakeCuda, RefusesWhatIsDestroyedOrAnotherDevices) {
  Machine machine;
  const cudaStream_t destroyed = make_stream(), of_0 = make_stream();
  const cudaEvent_t event_of_0 = make_event();
  EXPECT_EQ(cudaStreamDestroy(destroyed), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(destroyed), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamSynchronize(destroyed), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(event_of_0, destroyed), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  const cudaStream_t of_1 = make_stream();
  EXPECT_EQ(cudaEventRecord(event_of_0, of_1), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamWaitEvent(of_1, event_of_0, 0), cudaSuccess);
  cudaGetLastError();
  launch(nullptr, 1, 32, 0, of_0, [](EmulatedThread&) {});
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
  cudaSetDevice(0);
}

TEST(FakeCuda, RefusesLaunchesBeyondTheLimits) {
  const Machine machine({.shared_bytes = 100 << 10});
  const cudaStream_t stream = make_stream();
  const int kernel = 0;  // its address stands for one
  const auto launched = [&](unsigned blocks, int threads, std::size_t shared_bytes) {
    launch(&kernel, blocks, threads, shared_bytes, stream, [](EmulatedThread&) {});
    return cudaGetLastError();
  };
  EXPECT_EQ(launched(1, 1024, 0), cudaSuccess);
  EXPECT_EQ(launched(1, 1056, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(0, 32, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(1u << 31, 32, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launched(1, 32, (48 << 10) - 256), cudaSuccess);
  EXPECT_EQ(launched(1, 32, 48 << 10), cudaErrorInvalidValue);  // a kernel has 256 of its own
  const auto declare = [&](int shared_bytes) {
    return cudaFuncSetAttribute(&kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  };
  EXPECT_EQ(declare(100 << 10), cudaErrorInvalidValue);
  EXPECT_EQ(declare(60 << 10), cudaSuccess);
  cudaGetLastError();
  EXPECT_EQ(launched(1, 32, 60 << 10), cudaSuccess);
  EXPECT_EQ(launched(1, 32, 61 << 10), cudaErrorInvalidValue);
}

TEST(FakeCuda, AWorkThatFailsFailsAllThatFollows) {
  Machine machine;
  const cudaStream_t stream = make_stream();
  launch(nullptr, 1, 64, 0, stream, [](EmulatedThread& thread) {
    if (thread.index() > 0) thread.barrier();
  });
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
  EXPECT_THAT(machine.scheduler().failure(), testing::HasSubstr("barrier"));
}

// Pinned memory that a copy still needs.
TEST(FakeCuda, PinnedMemoryIsFreedAtOnce) {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  std::uint8_t* host = pinned(1);
  upload(on_device(), host, stream);
  EXPECT_EQ(cudaFreeHost(host), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
}

struct Increment {
  std::uint8_t* values;
  int count;
  float unused;
  void operator()(EmulatedThread& thread) const {
    for (int i = thread.index(); i < count; i += thread.size()) values[i] += 1;
  }
};

TEST(FakeCuda, KernelsGetNearAddresses) {
  Machine machine;
  const cudaStream_t stream = make_stream();
  std::uint8_t *device = on_device(), *host = pinned(41);
  upload(device, host, stream);
  Increment kernel{device, bytes, 0.5F};
  kernel = machine.memory().near_operands(kernel);
  EXPECT_EQ(kernel.count, static_cast<int>(bytes));
  launch(nullptr, 2, 32, 0, stream, kernel);
  download(host, device, stream);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(host[0], 43);
  EXPECT_EQ(host[bytes - 1], 43);
}

}  // namespace
}  // namespace dualpath::fake_cuda
