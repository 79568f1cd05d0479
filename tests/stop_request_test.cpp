// Signals that ask a program to stop. Each test runs in a child process of its own, because how a
// process takes signals cannot be undone.
#include "launcher/common/stop_request.h"

#include <chrono>
#include <csignal>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "core/cpu/cpu_device.h"

namespace dualpath {
namespace {

void wait_until_stop_is_requested() {
  while (!stop_was_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void expect_remembered(int signal) {
  EXPECT_EXIT(
      {
        remember_stop_signals();
        if (stop_was_requested()) std::_Exit(1);
        kill(getpid(), signal);
        wait_until_stop_is_requested();
        std::_Exit(75);
      },
      testing::ExitedWithCode(75), "");
}

TEST(StopRequest, SignalsAreRemembered) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) expect_remembered(signal);
}

TEST(StopRequest, ASecondInterruptEndsTheProcess) {
  EXPECT_EXIT(
      {
        remember_stop_signals();
        kill(getpid(), SIGINT);
        wait_until_stop_is_requested();
        for (;;) {
          kill(getpid(), SIGINT);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      },
      testing::KilledBySignal(SIGINT), "");
}

// Matrix products under a hail of signals: a handler on the computing thread's stack would destroy
// the library's buffers (oneDNN's kernels use the stack register for data).
void multiply_under_signals() {
  remember_stop_signals();
  const auto device = make_cpu_device(1);
  const auto stream = device->make_stream();
  const auto ops = device->make_ops(*stream);
  constexpr std::int64_t m = 1024, n = 192;
  std::vector<float> a(m * n, 1), b(n * n, 1), c(m * n);
  std::thread sender([] {
    for (;;) {
      kill(getpid(), SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  for (int i = 0; i < 300; ++i) {
    ops->run(op::Matmul{.c = {c.data(), DType::f32, {m, n}},
                        .a = {a.data(), DType::f32, {m, n}},
                        .b = {b.data(), DType::f32, {n, n}}});
  }
  std::_Exit(stop_was_requested() && c.front() == n && c.back() == n ? 75 : 1);
}

TEST(StopRequest, SignalsLeaveComputingThreadsAlone) {
  EXPECT_EXIT(multiply_under_signals(), testing::ExitedWithCode(75), "");
}

}  // namespace
}  // namespace dualpath
