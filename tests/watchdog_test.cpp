#include "parallel/watchdog.h"

#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace dualpath {
namespace {

using Operation = OperationsUnderWay::Operation;
using Seconds = std::chrono::duration<double>;

const std::string group = "tensor";

TEST(OperationsUnderWay, FindsTheOldestInWhateverOrderTheyEnd) {
  OperationsUnderWay operations;
  EXPECT_FALSE(operations.oldest());
  const auto begin = [&](const char* kind) {
    return std::make_unique<Operation>(operations, group, kind, 7);
  };
  auto first = begin("first"), second = begin("second"), third = begin("third");
  EXPECT_EQ(operations.oldest()->kind, "first");
  EXPECT_EQ(operations.oldest()->group, "tensor");
  EXPECT_EQ(operations.oldest()->bytes, 7);
  EXPECT_EQ(operations.oldest()->step, 0);
  second.reset();
  first.reset();
  operations.at_step(12);
  EXPECT_EQ(operations.oldest()->kind, "third");
  EXPECT_EQ(operations.oldest()->number, 3U);
  EXPECT_EQ(operations.oldest()->step, 12);
  const auto fourth = begin("fourth");
  third.reset();
  EXPECT_EQ(operations.oldest()->kind, "fourth");
}

TEST(Watchdog, TellsOfTheOperationThatDoesNotEnd) {
  OperationsUnderWay operations;
  std::promise<OperationDescription> told;
  const Watchdog watchdog(operations, Seconds(0.05), [&](const auto& o) { told.set_value(o); });
  { const Operation ended(operations, group, "broadcast", 1); }
  const Operation endless(operations, group, "all_gather", 99);
  const Operation younger(operations, group, "exchange", 1);
  const OperationDescription found = told.get_future().get();
  EXPECT_EQ(found.kind, "all_gather");
  EXPECT_EQ(found.bytes, 99);
}

TEST(Watchdog, IsSilentBeforeTheTimeoutAndEndsAtOnce) {
  OperationsUnderWay operations;
  const Operation operation(operations, group, "barrier", 0);
  bool alarmed = false;
  { const Watchdog watchdog(operations, Seconds(1e6), [&](const auto&) { alarmed = true; }); }
  EXPECT_FALSE(alarmed);
}

TEST(Watchdog, NeverWithATimeoutOfZero) {
  OperationsUnderWay operations;
  const Operation operation(operations, group, "barrier", 0);
  bool alarmed = false;
  {
    const Watchdog watchdog(operations, Seconds(0), [&](const auto&) { alarmed = true; });
  }
  EXPECT_FALSE(alarmed);
}

}  // namespace
}  // namespace dualpath
