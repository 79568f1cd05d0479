// Adds to a counter the time, in ms, that the host spends in a scope.
#pragma once

#include <chrono>

namespace dualpath {

class ScopedTimer {
 public:
  explicit ScopedTimer(double& total_ms) : total_ms_(total_ms) {}
  ~ScopedTimer() {
    total_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }
  ScopedTimer(const ScopedTimer&) = delete;
  ScopedTimer& operator=(const ScopedTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& total_ms_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace dualpath
