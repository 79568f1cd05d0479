// Working memory of the kernels: one piece for each thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace dualpath {

constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Grows when a call needs more than any call before it. A training step repeats its shapes, so
// from the second on it allocates nothing.
class Scratch {
 public:
  explicit Scratch(int num_threads) : num_threads_(num_threads) {}

  // Outside parallel regions: room for `bytes` in each thread's piece. Contents are lost.
  void reserve(std::int64_t bytes) {
    bytes = round_up(bytes, alignment);
    if (bytes <= bytes_per_thread_) return;
    memory_.reset();
    memory_.reset(static_cast<std::byte*>(::operator new (
        static_cast<std::size_t>(bytes * num_threads_), std::align_val_t{alignment})));
    bytes_per_thread_ = bytes;
  }

  // The piece of one thread, aligned to a cache line.
  std::byte* of(int thread) const { return memory_.get() + thread * bytes_per_thread_; }

 private:
  static constexpr std::size_t alignment = 64;
  struct Release {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{alignment});
    }
  };
  int num_threads_;
  std::int64_t bytes_per_thread_ = 0;
  std::unique_ptr<std::byte, Release> memory_;
};

// Cuts a piece of scratch into arrays that start on cache lines.
class ScratchCutter {
 public:
  explicit ScratchCutter(std::byte* memory) : next_(memory) {}
  template <class T>
  T* take(std::int64_t count) {
    T* array = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return array;
  }
  // What take<T>(count) uses up.
  template <class T>
  static constexpr std::int64_t bytes(std::int64_t count) {
    return round_up(count * static_cast<std::int64_t>(sizeof(T)), 64);
  }

 private:
  std::byte* next_;
};

}  // namespace dualpath
