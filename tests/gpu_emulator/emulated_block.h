// Runs the kernels of core/cuda on the host: the threads of a block are fibers that switch where
// they wait for one another. A seed shuffles the order in which threads and blocks run, so that a
// race shows as a result that depends on it; barriers that some threads do not reach, shuffles that
// some lanes leave out and threads that wait for ever are errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace dualpath {

class EmulatedBlock;

// What a kernel is handed (core/cuda/kernels/block.h).
class EmulatedThread {
 public:
  EmulatedThread(EmulatedBlock& block, int index) : block_(block), index_(index) {}

  std::int64_t block() const;
  std::int64_t num_blocks() const;
  int index() const { return index_; }
  int size() const;
  void* shared() const;
  void* reduction_memory() const;
  void barrier();
  template <class T>
  T shuffle(T value, int lane) {
    T result;
    exchange(&value, sizeof value, lane, &result);
    return result;
  }
  template <class T>
  T shuffle_xor(T value, int mask) {
    return shuffle(value, (index_ % 32) ^ mask);
  }
  std::uint32_t ballot(bool flag);

 private:
  // All lanes of the warp give a value and get that of `lane`.
  void exchange(const void* value, std::size_t bytes, int lane, void* result);

  EmulatedBlock& block_;
  int index_;
};

struct EmulatedLaunch {
  std::int64_t blocks = 1;
  int threads = 32;
  std::size_t shared_bytes = 0;
};

// Runs the blocks of launches, one after another.
class EmulatedBlock {
 public:
  explicit EmulatedBlock(std::uint64_t seed);
  ~EmulatedBlock();

  // Runs body once for each thread of each block. Throws Error(internal) for a misuse of barriers
  // and shuffles, after which nothing more can be run.
  void run(const EmulatedLaunch& launch, const std::function<void(EmulatedThread&)>& body);

 private:
  friend class EmulatedThread;
  struct Fiber;
  struct Warp {
    std::uint64_t exchanges = 0;  // finished ones
    int arrived = 0;              // at the one under way
    std::uint64_t values[2][32];  // of this one and the one before
  };

  void run_block(const std::function<void(EmulatedThread&)>& body);
  bool run_ready_fibers();
  void yield(Fiber& fiber);
  static void enter();

  std::mt19937_64 random_;
  EmulatedLaunch launch_;
  std::int64_t block_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;  // at least one a thread
  std::vector<Fiber*> ready_;
  std::vector<Warp> warps_;
  std::vector<std::byte> shared_, reductions_;
  std::uint64_t barriers_ = 0;  // passed
  int at_barrier_ = 0;
  static thread_local Fiber* entering;  // the fiber that is switched to
  const std::function<void(EmulatedThread&)>* body_ = nullptr;
};

}  // namespace dualpath
