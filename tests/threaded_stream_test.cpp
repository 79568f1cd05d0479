#include "core/device/threaded_stream.h"

#include <atomic>
#include <gtest/gtest.h>
#include <semaphore>
#include <stdexcept>
#include <string>

#include "tests/allocation_counter.h"

namespace dualpath {
namespace {

using Gate = std::binary_semaphore;

// Twice the ring, so that the caller waits for room and places are used again.
TEST(ThreadedStream, RunsEverythingInOrder) {
  constexpr int num_tasks = 2 * ThreadedStream::capacity + 1;
  std::vector<int> order;
  order.reserve(num_tasks);
  ThreadedStream stream;
  for (int i = 0; i < num_tasks; ++i) stream.run([&order, i] { order.push_back(i); });
  stream.synchronize();
  ASSERT_EQ(order.size(), num_tasks);
  for (int i = 0; i < num_tasks; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(ThreadedStream, GoesOnBesideTheCaller) {
  Gate gate(0);
  ThreadedStream stream;
  std::thread::id thread;
  stream.run([&] {
    thread = std::this_thread::get_id();
    gate.acquire();
  });
  gate.release();  // would never be got to, did the task run inside the call
  stream.synchronize();
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(ThreadedStream, AMomentCoversWhatWasIssuedBeforeItAndNoMore) {
  Gate gate(0);
  bool first = false;
  ThreadedStream stream;
  stream.run([&] { first = true; });
  const Event event = stream.record_event();
  stream.run([&] { gate.acquire(); });
  stream.synchronize(event);
  EXPECT_TRUE(first);
  InlineStream host;
  host.wait_for(event);  // passed: does not wait for what came later
  gate.release();
}

TEST(ThreadedStream, AnInlineStreamWaitsOnTheHost) {
  Gate gate(0);
  std::atomic<bool> done = false;
  ThreadedStream stream;
  stream.run([&] {
    gate.acquire();
    done = true;
  });
  gate.release();
  InlineStream host;
  host.wait_for(stream);
  EXPECT_TRUE(done);
}

TEST(ThreadedStream, WaitsForAnotherWithoutTheHost) {
  Gate gate(0);
  std::string order;
  ThreadedStream first, second;
  first.run([&] {
    gate.acquire();
    order += 'a';
  });
  second.wait_for(first);
  second.run([&] { order += 'b'; });
  gate.release();  // the host has got here: wait_for did not block it
  second.synchronize();
  EXPECT_EQ(order, "ab");
}

TEST(ThreadedStream, WaitingForItselfOrForNothingIsNoWait) {
  ThreadedStream stream;
  InlineStream host;
  stream.wait_for(stream);
  stream.wait_for(host);
  stream.wait_for(Event{});
  host.wait_for(Event{});
  EXPECT_EQ(stream.record_event().index, 0U);
}

TEST(ThreadedStream, DestructionRunsWhatIsQueued) {
  Gate gate(0);
  int done = 0;
  {
    ThreadedStream stream;
    stream.run([&] { gate.acquire(); });
    for (int i = 0; i < 100; ++i) stream.run([&] { ++done; });
    gate.release();
  }
  EXPECT_EQ(done, 100);
}

void fail() {
  throw std::runtime_error("the first failure");
}

template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(ThreadedStream, AFailureReachesAllWhoWaitAndStopsTheStream) {
  bool ran = false;
  ThreadedStream stream, other;
  InlineStream host;
  stream.run(fail);
  stream.run([&] { ran = true; });
  stream.run([] { throw std::runtime_error("another failure"); });
  other.wait_for(stream);
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(message_of([&] { stream.synchronize(); }), "the first failure");
    EXPECT_EQ(message_of([&] { host.wait_for(stream); }), "the first failure");
    EXPECT_EQ(message_of([&] { other.synchronize(); }), "the first failure");
  }
  EXPECT_FALSE(ran);
  for (std::size_t i = 0; i <= ThreadedStream::capacity; ++i) stream.run(fail);  // still has room
}

TEST(InlineStream, FailsInTheCall) {
  InlineStream host;
  EXPECT_EQ(message_of([&] { host.run(fail); }), "the first failure");
}

TEST(ThreadedStream, IssuingAllocatesNothing) {
  std::uint64_t sum = 0;
  ThreadedStream stream, other;
  InlineStream host;
  const std::uint64_t before = num_heap_allocations();
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::array<std::uint64_t, 31> captured = {i};
    stream.run([captured, &sum] { sum += captured[0]; });
    other.wait_for(stream);
    if (i % 100 == 0) host.wait_for(other);
  }
  other.synchronize();
  EXPECT_EQ(num_heap_allocations(), before);
  EXPECT_EQ(sum, 999 * 1000 / 2U);
}

}  // namespace
}  // namespace dualpath
