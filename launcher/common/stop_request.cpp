#include "launcher/common/stop_request.h"

#include <atomic>
#include <csignal>
#include <thread>

namespace dualpath {

namespace {

constexpr int stop_signals[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};

std::atomic<bool> stop_flag = false;

sigset_t stop_signal_set() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : stop_signals) sigaddset(&signals, signal);
  return signals;
}

void take_signals(sigset_t signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    stop_flag = true;
    if (signal == SIGINT) {
      sigset_t again;
      sigemptyset(&again);
      sigaddset(&again, SIGINT);
      sigdelset(&signals, SIGINT);
      pthread_sigmask(SIG_UNBLOCK, &again, nullptr);
    }
  }
}

}  // namespace

void hold_stop_signals() {
  for (int signal : stop_signals)
    std::signal(signal, SIG_DFL);  // a shell starts background jobs
                                   // with SIGINT ignored
  const sigset_t signals = stop_signal_set();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

// The signals are blocked and a thread waits for them. A handler would run on the stack of whatever
// thread computes, and oneDNN's generated kernels point the stack register into the heap.
void remember_stop_signals() {
  hold_stop_signals();
  std::thread(take_signals, stop_signal_set()).detach();
}

bool stop_was_requested() {
  return stop_flag;
}

}  // namespace dualpath
