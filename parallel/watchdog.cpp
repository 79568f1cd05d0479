#include "parallel/watchdog.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace dualpath {

using Seconds = std::chrono::duration<double>;

Watchdog::Watchdog(const OperationsUnderWay& operations, Seconds timeout, Alarm alarm)
    : operations_(operations),
      timeout_(timeout),
      alarm_(std::move(alarm)),
      thread_([this](const std::stop_token& stop) { watch(stop); }) {}

void Watchdog::watch(const std::stop_token& stop) const {
  using Clock = std::chrono::steady_clock;
  const bool endless = timeout_.count() == 0;
  const Seconds tick = endless ? Seconds(1) : std::min(timeout_ / 10, Seconds(1));
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
    std::string failure = operations_.look();
    std::optional<OperationDescription> oldest = operations_.oldest();
    if (!failure.empty()) {
      if (!oldest) oldest.emplace();
      oldest->failure = std::move(failure);
      return alarm_(*oldest);
    }
    const std::uint64_t number = oldest ? oldest->number : 0;
    waited = number == watched ? waited + since : Seconds(0);
    watched = number;
    if (oldest && !endless && waited >= timeout_) return alarm_(*oldest);
  }
}

}  // namespace dualpath
