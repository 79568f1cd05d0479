// Working memory of the kernels: one piece for each thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <sys/mman.h>
#include <vector>

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
    bytes = round_up(bytes, 64);
    if (bytes <= bytes_per_thread_) return;
    memory_.reset();
    const auto all = static_cast<std::size_t>(bytes * num_threads_);
    memory_.reset(static_cast<std::byte*>(::operator new (all, std::align_val_t{alignment})));
    if (all >= alignment) madvise(memory_.get(), all, MADV_HUGEPAGE);  // an advice only
    bytes_per_thread_ = bytes;
  }

  // The piece of one thread, aligned to a cache line.
  std::byte* of(int thread) const { return memory_.get() + thread * bytes_per_thread_; }

 private:
  static constexpr std::size_t alignment = 2 << 20;
  struct Release {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{alignment});
    }
  };
  int num_threads_;
  std::int64_t bytes_per_thread_ = 0;
  std::unique_ptr<std::byte, Release> memory_;
};

// Memory handed out in pieces and taken back all at once. Grows like Scratch.
class Stock {
 public:
  // Aligned to a cache line; stays until clear().
  std::byte* take(std::int64_t bytes) {
    if (parts_.empty() || taken_ + bytes > parts_.back().bytes) {
      parts_.push_back({Scratch(1), std::max(bytes, least_part)});
      parts_.back().memory.reserve(parts_.back().bytes);
      taken_ = 0;
    }
    std::byte* piece = parts_.back().memory.of(0) + taken_;
    taken_ += round_up(bytes, 64);
    return piece;
  }
  // What was in several parts will be in one.
  void clear() {
    taken_ = 0;
    if (parts_.size() <= 1) return;
    std::int64_t all = 0;
    for (const Part& part : parts_) all += part.bytes;
    parts_.clear();
    take(all);
    taken_ = 0;
  }

 private:
  static constexpr std::int64_t least_part = 4 << 20;
  struct Part {
    Scratch memory;
    std::int64_t bytes;
  };
  std::vector<Part> parts_;
  std::int64_t taken_ = 0;  // of the last part
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
