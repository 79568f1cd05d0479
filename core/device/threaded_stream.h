// A stream of host tasks with a thread of its own: what is issued here goes on beside the caller.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/device/stream.h"

namespace dualpath {

// Waiting, of the thread and of callers, sleeps. No task may issue work on its own stream.
class ThreadedStream final : public Stream {
 public:
  // Tasks that can be queued; a caller that issues more waits for room.
  static constexpr std::size_t capacity = 256;

  ThreadedStream();
  // Returns when all that was issued has run.
  ~ThreadedStream() override;

  Event record_event() override;
  void run(HostTask task) override;
  using Stream::synchronize;
  void synchronize(Event event) override;

 private:
  void start_after(Event event) override;
  void work();

  std::mutex mutex_;
  std::condition_variable issue_, completion_;
  std::vector<HostTask> ring_{capacity};  // task i is in place i % capacity
  std::uint64_t num_issued_ = 0, num_done_ = 0;
  std::exception_ptr failure_;  // the first; tasks after it are dropped
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace dualpath
