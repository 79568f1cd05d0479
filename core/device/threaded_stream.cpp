#include "core/device/threaded_stream.h"

namespace dualpath {

ThreadedStream::ThreadedStream() : thread_([this] { work(); }) {}

ThreadedStream::~ThreadedStream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  issue_.notify_one();
  thread_.join();
}

Event ThreadedStream::record_event() {
  const std::lock_guard lock(mutex_);
  return {this, num_issued_};
}

void ThreadedStream::run(HostTask task) {
  {
    std::unique_lock lock(mutex_);
    completion_.wait(lock, [this] { return num_issued_ - num_done_ < capacity; });
    ring_[num_issued_ % capacity] = task;
    ++num_issued_;
  }
  issue_.notify_one();
}

void ThreadedStream::synchronize(Event event) {
  std::unique_lock lock(mutex_);
  completion_.wait(lock, [&] { return num_done_ >= event.index; });
  if (failure_) std::rethrow_exception(failure_);
}

void ThreadedStream::start_after(Event event) {
  run([event] { event.stream->synchronize(event); });
}

void ThreadedStream::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    issue_.wait(lock, [this] { return num_issued_ > num_done_ || closing_; });
    if (num_issued_ == num_done_) return;
    if (!failure_) {
      HostTask& task = ring_[num_done_ % capacity];  // not written again before it is done
      lock.unlock();
      std::exception_ptr failure;
      try {
        task();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
    }
    ++num_done_;
    completion_.notify_all();
  }
}

}  // namespace dualpath
