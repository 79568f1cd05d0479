// Phases by the host's clock, for a viewer: https://ui.perfetto.dev or chrome://tracing.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/base/tracer.h"

namespace dualpath {

// Takes next to no time and no memory while it does not record.
class TraceRecorder final : public Tracer {
 public:
  void begin(const char* name, std::string_view detail) override;
  void end() override;

  // Recorded are the ranges that begin and end between the two. start() forgets earlier ones; the
  // thread that calls it is the first in the trace.
  void start();
  void stop();

  // Chrome's trace-event format, times in µs of the machine's steady clock, which the ranks of one
  // host share. `process` tells traces apart that are opened together.
  std::string json(int process, const std::string& process_name) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Range {
    std::string name;
    Clock::time_point begin, end;
  };
  struct Track {
    std::thread::id thread;
    std::vector<Range> open, done;
  };
  Track& own_track();

  std::atomic<bool> recording_ = false;
  mutable std::mutex mutex_;
  std::vector<Track> tracks_;
};

}  // namespace dualpath
