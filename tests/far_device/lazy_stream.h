// A stream whose kernels and copies run when somebody waits for them, as late as its contract
// allows: what is read before it is waited for, or freed or changed while work still needs it,
// shows every time. Host tasks, for which other ranks may wait, run when they are issued, behind
// all that.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

#include "core/device/stream.h"

namespace dualpath {

class LazyStream : public Stream {
 public:
  Event record_event() override;
  void run(HostTask task) override {
    synchronize();
    task();
  }
  void issue(std::function<void()> work);  // of a kernel or a copy
  using Stream::synchronize;
  // Runs what was issued up to the event, on the calling thread.
  void synchronize(Event event) override;

 private:
  void start_after(Event event) override;

  std::mutex mutex_;
  std::condition_variable completion_;
  bool running_ = false;  // some thread runs work: one at a time, in order
  std::deque<std::function<void()>> queue_;
  std::uint64_t num_issued_ = 0, num_done_ = 0;
  std::exception_ptr failure_;  // the first; work after it is dropped
};

}  // namespace dualpath
