#include "core/base/worker_pool.h"

#include <atomic>
#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <numeric>
#include <stdexcept>

namespace dualpath {
namespace {

std::optional<int> next_below(int& next, int end) {
  return next < end ? std::optional(next++) : std::nullopt;
}

TEST(OrderedMap, KeepsTheOrderWhicheverWorkerIsSlow) {
  for (const std::size_t workers : {1, 2, 5}) {
    int next = 0;
    std::vector<int> results;
    ordered_map(
        workers, [&] { return next_below(next, 100); },
        [&](std::size_t worker, int item) {
          EXPECT_LT(worker, workers);
          if (item % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
          return item * item;
        },
        [&](int result) { results.push_back(result); });
    ASSERT_EQ(results.size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)], i * i);
  }
}

TEST(OrderedMap, NoItems) {
  ordered_map(
      2, [] { return std::optional<int>(); }, [](std::size_t, int item) { return item; },
      [](int) { FAIL(); });
}

// What waits is bounded, and items that can only be moved pass.
TEST(OrderedMap, FewItemsAreAlive) {
  std::atomic<int> alive = 0;
  int most = 0;
  int next = 0;
  const auto count_down = [&](int* item) {
    --alive;
    delete item;
  };
  using Item = std::unique_ptr<int, decltype(count_down)>;
  ordered_map(
      3,
      [&]() -> std::optional<Item> {
        if (next == 200) return std::nullopt;
        most = std::max(most, ++alive);
        return Item(new int(next++), count_down);
      },
      [](std::size_t, Item item) { return item; }, [&](Item item) { EXPECT_LT(*item, 200); });
  EXPECT_EQ(alive, 0);
  EXPECT_LE(most, 7);
  EXPECT_GE(most, 6);
}

TEST(OrderedMap, ExceptionsComeOutInOrder) {
  for (const int place : {0, 1, 2}) {
    int next = 0;
    int consumed = 0;
    const auto fail_at = [&](int stage, int item) {
      if (place == stage && item >= 20) throw std::runtime_error(std::to_string(item));
      return item;
    };
    try {
      ordered_map(
          2,
          [&] {
            fail_at(0, next);
            return next_below(next, 1000);
          },
          [&](std::size_t, int item) { return fail_at(1, item); },
          [&](int item) { consumed = fail_at(2, item); });
      FAIL() << "no exception";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "20");
      EXPECT_LT(consumed, 20);
    }
  }
}

}  // namespace
}  // namespace dualpath
