// Stream capture of the fake CUDA runtime: what is captured is done at each launch, and what has no
// place in a capture is refused.
#include <cstring>
#include <gmock/gmock.h>
#include <thread>

#include "tests/fake_cuda/machine.h"

namespace dualpath::fake_cuda {
namespace {

constexpr std::size_t bytes = 100;

struct GraphTest : testing::Test {
  GraphTest() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    void *on_device = nullptr, *on_host = nullptr;
    cudaMalloc(&on_device, bytes);
    cudaHostAlloc(&on_host, bytes, 0);
    device = static_cast<std::uint8_t*>(on_device);
    host = static_cast<std::uint8_t*>(on_host);
    std::memset(host, 1, bytes);
  }

  cudaError_t begin(cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal) {
    return cudaStreamBeginCapture(stream, mode);
  }
  cudaError_t end() { return cudaStreamEndCapture(stream, &graph); }
  void make_executable() {
    EXPECT_EQ(end(), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  }
  void count_up() {
    machine.enqueue(stream, [this] { ++count; });
  }

  Machine machine;
  cudaStream_t stream = nullptr, other = nullptr;
  cudaEvent_t event = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  std::uint8_t *device = nullptr, *host = nullptr;
  int count = 0;
};

TEST_F(GraphTest, WhatIsCapturedIsDoneAtEachLaunch) {
  ASSERT_EQ(begin(), cudaSuccess);
  count_up();
  cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(host + 1, device, 1, cudaMemcpyDeviceToHost, stream);
  make_executable();
  cudaStreamSynchronize(stream);
  EXPECT_EQ(count, 0);
  for (const std::uint8_t value : {5, 6}) {
    host[0] = value;
    host[1] = 0;
    EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    EXPECT_EQ(host[1], 0);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(host[1], value);
  }
  EXPECT_EQ(count, 2);
  EXPECT_EQ(machine.num_graph_launches(), 2);
}

TEST_F(GraphTest, LaunchesAreInTheStreamsOrder) {
  begin();
  machine.enqueue(stream, [this] { count *= 10; });
  make_executable();
  count_up();
  cudaGraphLaunch(executable, stream);
  count_up();
  cudaStreamSynchronize(stream);
  EXPECT_EQ(count, 11);
}

TEST_F(GraphTest, WhatIsUnderWayOutlivesItsGraph) {
  begin();
  count_up();
  make_executable();
  cudaGraphLaunch(executable, stream);
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaErrorInvalidResourceHandle);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(count, 1);
}

// As a kernel that is issued by itself.
TEST_F(GraphTest, MemoryThatIsFreedFailsTheLaunch) {
  begin();
  cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream);
  make_executable();
  cudaFree(device);
  EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
}

TEST_F(GraphTest, WhatHasNoPlaceInACaptureIsRefusedAndSpoilsIt) {
  std::uint8_t pageable[bytes] = {};
  void* memory = nullptr;
  const std::tuple<const char*, std::function<cudaError_t()>, cudaError_t> calls[] = {
      {"malloc", [&] { return cudaMalloc(&memory, 8); }, cudaErrorStreamCaptureUnsupported},
      {"free", [&] { return cudaFree(device); }, cudaErrorStreamCaptureUnsupported},
      {"host alloc", [&] { return cudaHostAlloc(&memory, 8, 0); },
       cudaErrorStreamCaptureUnsupported},
      {"free host", [&] { return cudaFreeHost(host); }, cudaErrorStreamCaptureUnsupported},
      {"synchronize", [&] { return cudaStreamSynchronize(stream); },
       cudaErrorStreamCaptureUnsupported},
      {"synchronize another", [&] { return cudaStreamSynchronize(other); },
       cudaErrorStreamCaptureUnsupported},
      {"synchronize all", [] { return cudaDeviceSynchronize(); },
       cudaErrorStreamCaptureUnsupported},
      {"wait on the host", [&] { return cudaEventSynchronize(event); },
       cudaErrorStreamCaptureUnsupported},
      {"look at an event", [&] { return cudaEventQuery(event); },
       cudaErrorStreamCaptureUnsupported},
      {"destroy", [&] { return cudaStreamDestroy(stream); }, cudaErrorStreamCaptureUnsupported},
      {"upload what is not pinned",
       [&] { return cudaMemcpyAsync(device, pageable, bytes, cudaMemcpyHostToDevice, stream); },
       cudaErrorStreamCaptureUnsupported},
      {"download to what is not pinned",
       [&] { return cudaMemcpyAsync(pageable, device, bytes, cudaMemcpyDeviceToHost, stream); },
       cudaErrorStreamCaptureUnsupported},
      {"wait for work outside",
       [&] {
         cudaEventRecord(event, other);
         return cudaStreamWaitEvent(stream, event, 0);
       },
       cudaErrorStreamCaptureIsolation},
      {"fork",
       [&] {
         cudaEventRecord(event, stream);
         return cudaStreamWaitEvent(other, event, 0);
       },
       cudaErrorNotSupported},
  };
  for (const auto& [name, call, error] : calls) {
    SCOPED_TRACE(name);
    ASSERT_EQ(begin(), cudaSuccess);
    EXPECT_EQ(call(), error);
    EXPECT_EQ(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
              cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(end(), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    count = 0;
    count_up();  // the stream can be used again
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(count, 1);
  }
}

TEST_F(GraphTest, TheHostDoesNotLookAtEventsOfACapture) {
  begin();
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaSuccess);
  EXPECT_EQ(end(), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamWaitEvent(other, event, 0), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
}

TEST_F(GraphTest, OtherThreadsGoOnUnlessTheCaptureIsGlobal) {
  const auto on_another_thread = [](const std::function<cudaError_t()>& call) {
    cudaError_t error = cudaSuccess;
    std::thread([&] { error = call(); }).join();
    return error;
  };
  const auto allocate = [] {
    void* memory = nullptr;
    return cudaMalloc(&memory, 8);
  };
  begin(cudaStreamCaptureModeThreadLocal);
  EXPECT_EQ(on_another_thread(allocate), cudaSuccess);
  EXPECT_EQ(on_another_thread([&] { return cudaStreamSynchronize(other); }), cudaSuccess);
  EXPECT_EQ(on_another_thread([&] { return end(); }), cudaErrorStreamCaptureWrongThread);
  EXPECT_EQ(end(), cudaSuccess);
  begin(cudaStreamCaptureModeGlobal);
  EXPECT_EQ(on_another_thread(allocate), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cudaErrorStreamCaptureInvalidated);
  begin(cudaStreamCaptureModeRelaxed);
  EXPECT_EQ(allocate(), cudaSuccess);
  EXPECT_EQ(on_another_thread([&] { return end(); }), cudaSuccess);
}

TEST_F(GraphTest, RefusesCapturesThatDoNotPair) {
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal),
            cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cudaErrorIllegalState);
  EXPECT_EQ(begin(), cudaSuccess);
  EXPECT_EQ(begin(), cudaErrorIllegalState);
  EXPECT_EQ(end(), cudaSuccess);
}

TEST_F(GraphTest, RefusesAnotherDevicesStream) {
  begin();
  make_executable();
  cudaSetDevice(1);
  cudaStream_t elsewhere = nullptr;
  cudaStreamCreateWithFlags(&elsewhere, cudaStreamNonBlocking);
  EXPECT_EQ(cudaGraphLaunch(executable, elsewhere), cudaErrorInvalidValue);
  cudaSetDevice(0);
}

TEST_F(GraphTest, Leaks) {
  begin();
  EXPECT_EQ(end(), cudaSuccess);
  const std::size_t before = machine.leaks().size();
  cudaGraphInstantiate(&executable, graph, 0);
  EXPECT_EQ(machine.leaks().size(), before + 1);
  cudaGraphDestroy(graph);
  EXPECT_EQ(machine.leaks().size(), before);
  EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaErrorInvalidResourceHandle);
}

}  // namespace
}  // namespace dualpath::fake_cuda
