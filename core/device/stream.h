// Stream: an ordered queue of work of a device or of the host, and what orders two of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace dualpath {

// A function of the host with what it captured, kept in place: to copy or to queue one allocates
// nothing.
class HostTask {
 public:
  static constexpr std::size_t max_bytes = 256;

  HostTask() = default;
  template <class Function>
  requires(std::is_trivially_copyable_v<Function>&& std::is_invocable_v<Function&> &&
           sizeof(Function) <= max_bytes) HostTask(Function function)
      : call_([](void* captured) { (*static_cast<Function*>(captured))(); }) {
    ::new (static_cast<void*>(captured_)) Function(function);
  }
  void operator()() { call_(captured_); }

 private:
  void (*call_)(void*) = nullptr;
  alignas(std::max_align_t) std::byte captured_[max_bytes];
};

class Stream;

// A point in a stream's order of work. A default Moment has always passed.
struct Moment {
  Stream* stream = nullptr;
  std::uint64_t index = 0;
};

// Kernels, copies and tasks issued on one stream run in order.
class Stream {
 public:
  virtual ~Stream() = default;
  // Behind all work issued here so far.
  virtual Moment now() = 0;
  // Host work in this stream's order. What it refers to outlives it.
  virtual void run(HostTask task) = 0;

  // Work issued here afterwards starts only after that moment. Where this host waits for it, what
  // a task of the other stream threw is thrown again.
  void wait_for(Moment moment) {
    if (moment.stream != nullptr && moment.stream != this) start_after(moment);
  }
  void wait_for(Stream& other) { wait_for(other.now()); }

  // Blocks the host until the moment, one of this stream's, has passed. Throws again what a task
  // has thrown; after that the stream runs nothing more.
  virtual void synchronize(Moment moment) = 0;
  void synchronize() { synchronize(now()); }

 private:
  // REQUIRES: the moment is another stream's.
  virtual void start_after(Moment moment) = 0;
};

// Everything is done when the call that issues it returns.
class InlineStream final : public Stream {
 public:
  Moment now() override { return {}; }
  void run(HostTask task) override { task(); }
  using Stream::synchronize;
  void synchronize(Moment) override {}

 private:
  void start_after(Moment moment) override { moment.stream->synchronize(moment); }
};

}  // namespace dualpath
