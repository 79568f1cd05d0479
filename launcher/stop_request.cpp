#include "launcher/stop_request.h"

#include <csignal>
#include <initializer_list>

namespace dualpath {

namespace {

volatile std::sig_atomic_t stop_flag = 0;

void remember(int signal) {
  stop_flag = 1;
  if (signal == SIGINT) std::signal(SIGINT, SIG_DFL);
}

}  // namespace

void remember_stop_signals() {
  for (int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) {
    struct sigaction action = {};
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

bool stop_was_requested() {
  return stop_flag != 0;
}

}  // namespace dualpath
