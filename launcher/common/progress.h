// The live line of a long task.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace dualpath {

// On a terminal one line that is rewritten ten times a second at most:
//   tokenising  42.0 % | 18.3 MB/s | 1,234 documents | ETA 0:01:32
// elsewhere a line a minute. The line is gone when the object ends.
class ProgressLine {
 public:
  using Clock = std::chrono::steady_clock;

  // total: the amount of `done` at the end; 0: unknown, then neither share nor ETA are shown.
  ProgressLine(std::string task, double total, std::FILE* out = stderr);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // details(seconds) gives the fields between share and ETA, as "18.3 MB/s | 1,234 documents"; it
  // is called only when a line is due.
  template <class Details>
  void update(double done, Details details) {
    const Clock::time_point now = Clock::now();
    if (now < next_) return;
    const double seconds = seconds_since_start(now);
    show(done, seconds, details(seconds));
    next_ = now + interval();
  }

  double seconds() const { return seconds_since_start(Clock::now()); }

 private:
  double seconds_since_start(Clock::time_point now) const {
    return std::chrono::duration<double>(now - start_).count();
  }
  Clock::duration interval() const;
  void show(double done, double seconds, std::string_view details);

  std::string task_;
  double total_;
  std::FILE* out_;
  bool is_terminal_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point next_;
};

// "task  42.0 % | details | ETA 0:01:32" at `seconds` after the start.
std::string progress_text(std::string_view task, double done, double total, double seconds,
                          std::string_view details);

}  // namespace dualpath
