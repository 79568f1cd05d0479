// To be preloaded: sends the process the signal SIGNAL_AT_START while its libraries start.
#include <csignal>
#include <cstdlib>
#include <unistd.h>

namespace {

[[gnu::constructor]] void send() {
  const char* signal = std::getenv("SIGNAL_AT_START");
  unsetenv("LD_PRELOAD");
  if (signal != nullptr) ::kill(::getpid(), std::atoi(signal));
}

}  // namespace
