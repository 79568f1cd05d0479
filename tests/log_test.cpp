#include "core/base/log.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "core/base/error.h"

namespace dualpath {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

struct Captured {
  std::string out, err;
};

template <class Body>
Captured capture(Body body) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  body();
  return {::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

class LogFile : public ::testing::Test {
 protected:
  LogFile() : path_(std::filesystem::path(::testing::TempDir()) / "log_test.txt") {
    std::filesystem::remove(path_);
  }
  ~LogFile() override { std::filesystem::remove(path_); }

  std::vector<std::string> lines() const {
    std::vector<std::string> result;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) result.push_back(line);
    return result;
  }

  std::filesystem::path path_;
};

TEST(Log, LevelsGoToTheirStreams) {
  const Captured captured = capture([] {
    Log log("[rank 3 t1 p0 d1] ");
    log.info("step {}", 7);
    log.warning("slow");
    log.error("wrong");
  });
  const std::string time = "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} ";
  EXPECT_THAT(captured.out, ContainsRegex(time + "\\[rank 3 t1 p0 d1\\] step 7\n$"));
  EXPECT_THAT(captured.err, ContainsRegex(time + "\\[rank 3 t1 p0 d1\\] warning: slow\n"));
  EXPECT_THAT(captured.err, HasSubstr("[rank 3 t1 p0 d1] error: wrong\n"));
}

TEST(Log, OtherRanksDropInfoOnly) {
  const Captured captured = capture([] {
    Log log("[rank 1] ", false);
    log.info("step");
    log.warning("slow");
  });
  EXPECT_EQ(captured.out, "");
  EXPECT_THAT(captured.err, HasSubstr("slow"));
}

TEST(Log, EveryLineOfAMessageIsMarked) {
  const Captured captured = capture([] { Log("[rank 2] ").warning("a\nb"); });
  EXPECT_THAT(captured.err, HasSubstr("[rank 2] warning: a\n"));
  EXPECT_THAT(captured.err, HasSubstr("[rank 2] warning: b\n"));
}

TEST_F(LogFile, GetsAllLevelsAndIsAppendedTo) {
  capture([&] {
    for (const char* run : {"first", "second"}) {
      Log log;
      log.info("before the file");
      log.open_file(path_);
      log.info("{} run", run);
      log.error("{} error", run);
    }
  });
  const std::vector<std::string> found = lines();
  ASSERT_EQ(found.size(), 6u);
  EXPECT_THAT(found[0], HasSubstr("before the file"));
  EXPECT_THAT(found[1], HasSubstr("first run"));
  EXPECT_THAT(found[2], HasSubstr("error: first error"));
  EXPECT_THAT(found[3], HasSubstr("before the file"));
  EXPECT_THAT(found[4], HasSubstr("second run"));
}

TEST_F(LogFile, LinesOfThreadsStayWhole) {
  constexpr int num_threads = 4, num_messages = 200;
  capture([&] {
    Log log;
    log.open_file(path_);
    std::vector<std::thread> threads;
    for (int t = 0; t < num_threads; ++t) {
      threads.emplace_back([&log, t] {
        for (int i = 0; i < num_messages; ++i) log.info("{}", std::string(100, 'a' + t));
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  const std::vector<std::string> found = lines();
  EXPECT_EQ(found.size(), std::size_t{num_threads * num_messages});
  for (const std::string& line : found) {
    EXPECT_THAT(line, ContainsRegex(" (a{100}|b{100}|c{100}|d{100})$"));
  }
}

TEST(Log, AFileThatTakesNoLinesIsToldOnce) {
  const Captured captured = capture([] {
    Log log("[rank 2] ");
    log.open_file("/dev/full");
    log.info("a");
    log.info("b");
  });
  EXPECT_EQ(captured.err,
            "[rank 2] warning: /dev/full: cannot be written: No space left on device; lines are "
            "missing from it\n");
  EXPECT_THAT(captured.out, HasSubstr("[rank 2] b\n"));
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  Log log;
  try {
    log.open_file("no_such_folder/log.txt");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::checkpoint);
    EXPECT_STREQ(error.what(),
                 "no_such_folder/log.txt: cannot be opened for writing: No such file or directory");
  }
}

}  // namespace
}  // namespace dualpath
