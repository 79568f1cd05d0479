#include "parallel/watchdog.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace dualpath {

using Seconds = std::chrono::duration<double>;

Watchdog::Watchdog(const OperationsUnderWay& operations, Seconds timeout, Alarm alarm)
    : operations_(operations), timeout_(timeout), alarm_(std::move(alarm)) {
  if (timeout_.count() > 0) thread_ = std::jthread([this](std::stop_token stop) { watch(stop); });
}

void Watchdog::watch(std::stop_token stop) const {
  using Clock = std::chrono::steady_clock;
  const Seconds tick = std::min(timeout_ / 10, Seconds(1));
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::uint64_t watched = 0;
  Seconds waited{0};
  Clock::time_point before = Clock::now();
  for (;;) {
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, tick, [] { return false; });
    if (stop.stop_requested()) return;
    const Clock::time_point now = Clock::now();
    // Far more than a tick is between two looks where the process was stopped: its own operations
    // had no chance to end meanwhile.
    const Seconds since = std::min(Seconds(now - before), 2 * tick);
    before = now;
    const std::optional<OperationDescription> oldest = operations_.oldest();
    const std::uint64_t number = oldest ? oldest->number : 0;
    waited = number == watched ? waited + since : Seconds(0);
    watched = number;
    if (oldest && waited >= timeout_) return alarm_(*oldest);
  }
}

}  // namespace dualpath
