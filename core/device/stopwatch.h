// Stopwatch: how long the work between two points of a stream's order takes.
#pragma once

#include <chrono>
#include <vector>

#include "core/device/stream.h"

namespace dualpath {

class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  // A point behind all work issued so far.
  virtual void mark() = 0;
  // Seconds from each mark to the next, which the host waits for; the marks are forgotten.
  virtual std::vector<double> take() = 0;
};

// By the host's clock, with the stream empty at every mark: for streams that do their work when it
// is issued, or as soon as the host waits for it.
class HostStopwatch final : public Stopwatch {
 public:
  explicit HostStopwatch(Stream& stream) : stream_(stream) {}
  void mark() override {
    stream_.synchronize();
    marks_.push_back(Clock::now());
  }
  std::vector<double> take() override {
    std::vector<double> seconds;
    for (std::size_t i = 1; i < marks_.size(); ++i)
      seconds.push_back(std::chrono::duration<double>(marks_[i] - marks_[i - 1]).count());
    marks_.clear();
    return seconds;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Stream& stream_;
  std::vector<Clock::time_point> marks_;
};

}  // namespace dualpath
