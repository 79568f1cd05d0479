#include "tests/gpu_emulator/emulated_block.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/base/error.h"
#include "core/cuda/kernels/block.h"
#include "tests/gpu_emulator/waiting_stack.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace dualpath {

namespace {
constexpr std::size_t stack_bytes = 64 << 10;
constexpr int warp = gpu::warp_size;
}  // namespace

struct EmulatedBlock::Fiber {
  Fiber(EmulatedBlock& owner, int index)
      : block(owner), thread(owner, index), stack(new std::byte[stack_bytes]) {}

  EmulatedBlock& block;
  EmulatedThread thread;
  std::unique_ptr<std::byte[]> stack;
  WaitingStack own{}, scheduler{};
  bool done = false;
  // What the fiber waits for: that so many barriers, or exchanges of its warp, have passed.
  std::uint64_t barrier = 0, exchange = 0;
  std::exception_ptr failure;
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_stack_bytes = 0;
};

thread_local EmulatedBlock::Fiber* EmulatedBlock::entering = nullptr;

EmulatedBlock::EmulatedBlock(std::uint64_t seed) : random_(seed) {}

EmulatedBlock::~EmulatedBlock() = default;

void EmulatedBlock::run(const EmulatedLaunch& launch,
                        const std::function<void(EmulatedThread&)>& body) {
  CHECK(launch.threads % warp == 0 && 0 < launch.threads && launch.threads <= 1024,
        "{} threads a block", launch.threads);
  launch_ = launch;
  while (std::ssize(fibers_) < launch.threads)
    fibers_.push_back(std::make_unique<Fiber>(*this, static_cast<int>(fibers_.size())));
  std::vector<std::int64_t> order(static_cast<std::size_t>(launch.blocks));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, random_);
  for (const std::int64_t block : order) {
    block_ = block;
    run_block(body);
  }
}

void EmulatedBlock::run_block(const std::function<void(EmulatedThread&)>& body) {
  body_ = &body;
  // Memory starts as rubbish: NaNs, or huge integers.
  shared_.assign(launch_.shared_bytes, std::byte{0xff});
  shared_.shrink_to_fit();
  reductions_.assign(gpu::max_warps * sizeof(double), std::byte{0xff});
  warps_.assign(static_cast<std::size_t>(launch_.threads / warp), Warp{});
  barriers_ = 0;
  at_barrier_ = 0;
  for (int i = 0; i < launch_.threads; ++i) {
    Fiber* fiber = fibers_[static_cast<std::size_t>(i)].get();
    fiber->done = false;
    fiber->barrier = fiber->exchange = 0;
    prepare_stack(fiber->own, {fiber->stack.get(), stack_bytes}, &EmulatedBlock::enter);
  }
  while (run_ready_fibers()) {
  }
  const auto is_done = [](const auto& fiber) { return fiber->done; };
  CHECK(std::all_of(fibers_.begin(), fibers_.begin() + launch_.threads, is_done),
        "block {}: threads wait at a barrier or shuffle that others do not reach", block_);
}

// Whether any ran.
bool EmulatedBlock::run_ready_fibers() {
  ready_.clear();
  for (int i = 0; i < launch_.threads; ++i) {
    Fiber* fiber = fibers_[static_cast<std::size_t>(i)].get();
    const Warp& own = warps_[static_cast<std::size_t>(i / warp)];
    if (!fiber->done && fiber->barrier <= barriers_ && fiber->exchange <= own.exchanges)
      ready_.push_back(fiber);
  }
  std::ranges::shuffle(ready_, random_);
  for (Fiber* fiber : ready_) {
#ifdef __SANITIZE_ADDRESS__
    void* own_stack = nullptr;
    __sanitizer_start_switch_fiber(&own_stack, fiber->stack.get(), stack_bytes);
#endif
    entering = fiber;
    switch_stack(fiber->scheduler, fiber->own);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(own_stack, nullptr, nullptr);
#endif
    if (fiber->failure) std::rethrow_exception(fiber->failure);
  }
  return !ready_.empty();
}

void EmulatedBlock::yield(Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.fake_stack, fiber.scheduler_stack,
                                 fiber.scheduler_stack_bytes);
#endif
  switch_stack(fiber.own, fiber.scheduler);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &fiber.scheduler_stack,
                                  &fiber.scheduler_stack_bytes);
#endif
}

void EmulatedBlock::enter() {
  Fiber& fiber = *entering;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &fiber.scheduler_stack, &fiber.scheduler_stack_bytes);
#endif
  EmulatedBlock& block = fiber.block;
  try {
    (*block.body_)(fiber.thread);
  } catch (...) {
    fiber.failure = std::current_exception();
  }
  fiber.done = true;
  block.yield(fiber);
}

std::int64_t EmulatedThread::block() const {
  return block_.block_;
}
std::int64_t EmulatedThread::num_blocks() const {
  return block_.launch_.blocks;
}
int EmulatedThread::size() const {
  return block_.launch_.threads;
}
void* EmulatedThread::shared() const {
  return block_.shared_.data();
}
void* EmulatedThread::reduction_memory() const {
  return block_.reductions_.data();
}

void EmulatedThread::barrier() {
  EmulatedBlock::Fiber& fiber = *block_.fibers_[static_cast<std::size_t>(index_)];
  fiber.barrier = block_.barriers_ + 1;
  if (++block_.at_barrier_ == block_.launch_.threads) {
    block_.at_barrier_ = 0;
    ++block_.barriers_;
  }
  block_.yield(fiber);
}

void EmulatedThread::exchange(const void* value, std::size_t bytes, int lane, void* result) {
  EmulatedBlock::Fiber& fiber = *block_.fibers_[static_cast<std::size_t>(index_)];
  EmulatedBlock::Warp& own = block_.warps_[static_cast<std::size_t>(index_ / warp)];
  const std::uint64_t number = own.exchanges;
  auto& values = own.values[number % 2];
  std::memcpy(&values[index_ % warp], value, bytes);
  fiber.exchange = number + 1;
  if (++own.arrived == warp) {
    own.arrived = 0;
    ++own.exchanges;
  }
  block_.yield(fiber);
  std::memcpy(result, &values[lane], bytes);
}

std::uint32_t EmulatedThread::ballot(bool flag) {
  // Every lane's flag, one after another.
  std::uint32_t bits = 0;
  for (int lane = 0; lane < warp; ++lane) {
    const int of_lane = shuffle(static_cast<int>(flag), lane);
    bits |= static_cast<std::uint32_t>(of_lane) << lane;
  }
  return bits;
}

}  // namespace dualpath
