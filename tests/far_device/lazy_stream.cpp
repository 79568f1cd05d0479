#include "tests/far_device/lazy_stream.h"

namespace dualpath {

Event LazyStream::record_event() {
  const std::lock_guard lock(mutex_);
  return {this, num_issued_};
}

void LazyStream::issue(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  ++num_issued_;
}

void LazyStream::start_after(Event event) {
  issue([event] { event.stream->synchronize(event); });
}

void LazyStream::synchronize(Event event) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (failure_) std::rethrow_exception(failure_);
    if (num_done_ >= event.index) return;
    if (running_) {  // another thread gets there, perhaps with work that waits for this one
      completion_.wait(lock);
      continue;
    }
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    running_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    running_ = false;
    ++num_done_;
    failure_ = failure;
    completion_.notify_all();
  }
}

}  // namespace dualpath
