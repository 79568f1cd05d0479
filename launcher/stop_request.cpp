#include "launcher/stop_request.h"

#include <atomic>
#include <csignal>
#include <thread>

namespace dualpath {

namespace {

std::atomic<bool> stop_flag = false;

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

// The signals are blocked and a thread waits for them. A handler would run on the stack of whatever
// thread computes, and oneDNN's generated kernels point the stack register into the heap.
void remember_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) {
    std::signal(signal, SIG_DFL);  // a shell starts background jobs with SIGINT ignored
    sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(take_signals, signals).detach();
}

bool stop_was_requested() {
  return stop_flag;
}

}  // namespace dualpath
