// Stream: an ordered queue of work of a device or of the host, and events, which order two streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace dualpath {

// A host function with its captures, stored in place: copying or queueing it allocates nothing.
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

// A point in a stream's order of work. A default Event has always passed.
struct Event {
  Stream* stream = nullptr;
  std::uint64_t index = 0;
};

// Kernels, copies and tasks issued on one stream run in order.
class Stream {
 public:
  virtual ~Stream() = default;
  // Passes when all work issued here so far is done.
  virtual Event record_event() = 0;
  // Host work in this stream's order. What it refers to outlives it.
  virtual void run(HostTask task) = 0;

  // Work issued here afterwards starts only when the event has passed. Where this host waits for
  // it, what a task of the other stream threw is thrown again.
  void wait_for(Event event) {
    if (event.stream != nullptr && event.stream != this) start_after(event);
  }
  void wait_for(Stream& other) { wait_for(other.record_event()); }

  // Blocks the host until the event, one of this stream's, has passed. Throws again what a task
  // has thrown; after that the stream runs nothing more.
  virtual void synchronize(Event event) = 0;
  void synchronize() { synchronize(record_event()); }

 private:
  // REQUIRES: the event is another stream's.
  virtual void start_after(Event event) = 0;
};

// Everything is done when the call that issues it returns.
class InlineStream final : public Stream {
 public:
  Event record_event() override { return {}; }
  void run(HostTask task) override { task(); }
  using Stream::synchronize;
  void synchronize(Event) override {}

 private:
  void start_after(Event event) override { event.stream->synchronize(event); }
};

}  // namespace dualpath
