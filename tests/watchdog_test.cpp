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

// What nobody waits for ends when it is looked at.
TEST(OperationsUnderWay, LookoutsAreAskedWhileTheyAreThere) {
  OperationsUnderWay operations;
  auto first = std::make_unique<Operation>(operations, group, "first", 7);
  {
    const OperationsUnderWay::Lookout ends(operations, [&] {
      first.reset();
      return std::string();
    });
    const OperationsUnderWay::Lookout tells(operations, [] { return std::string("gone"); });
    EXPECT_EQ(operations.oldest()->kind, "first");
    EXPECT_EQ(operations.look(), "gone");
    EXPECT_FALSE(operations.oldest());
  }
  EXPECT_EQ(operations.look(), "");
}

// With a timeout or none.
TEST(Watchdog, TellsWhatALookoutFinds) {
  for (const double timeout : {0.0, 1e6}) {
    OperationsUnderWay operations;
    const Operation operation(operations, group, "all_gather", 99);
    const OperationsUnderWay::Lookout tells(operations, [] { return std::string("gone"); });
    std::promise<OperationDescription> told;
    const Watchdog watchdog(operations, Seconds(timeout),
                            [&](const auto& o) { told.set_value(o); });
    const OperationDescription found = told.get_future().get();
    EXPECT_EQ(found.failure, "gone");
    EXPECT_EQ(found.kind, "all_gather");
  }
}

TEST(Watchdog, IsSilentBeforeTheTimeoutAndEndsAtOnce) {
  OperationsUnderWay operations;
  const Operation operation(operations, group, "barrier", 0);
  bool alarmed = false;
  {
    const Watchdog watchdog(operations, Seconds(1e6), [&](const auto&) { alarmed = true; });
  }
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
