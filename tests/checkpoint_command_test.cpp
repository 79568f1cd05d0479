#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/checkpoints/checkpoint_folder.h"
#include "launcher/commands.h"
#include "tests/checkpoint_fixture.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class CheckpointCommand : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::int64_t step : {10, 20}) save_step(checkpoints_, step);
  }

  ExitCode run(const std::string& action, const fs::path& path) {
    const std::vector<std::string> words = {action, path.string()};
    testing::internal::CaptureStdout();
    const ExitCode code = checkpoint_command.run(words);
    std::fflush(stdout);
    output_ = testing::internal::GetCapturedStdout();
    return code;
  }

  fs::path shard(std::int64_t step) const {
    return checkpoints_ / checkpoint_name(step) / shard_name(0, 1);
  }

  TemporaryFolder run_folder_;
  const fs::path checkpoints_ = run_folder_.path() / "checkpoints";
  std::string output_;
};

TEST_F(CheckpointCommand, FindsRunsFoldersAndSingleCheckpoints) {
  for (const char* action : {"list", "verify"}) {
    for (const fs::path& path : {run_folder_.path(), checkpoints_, checkpoints_ / "",
                                 checkpoints_ / checkpoint_name(10)}) {
      EXPECT_EQ(run(action, path), ExitCode::success);
      EXPECT_THAT(output_, AllOf(ContainsRegex("step-00000010.*whole"), Not(HasSubstr("damaged"))));
    }
    EXPECT_THAT(output_, Not(HasSubstr("step-00000020")));
  }
}

TEST_F(CheckpointCommand, NamesWhatIsDamaged) {
  fs::resize_file(shard(20), 100);
  for (const char* action : {"list", "verify"}) {
    EXPECT_EQ(run(action, run_folder_.path()), ExitCode::checkpoint);
    EXPECT_THAT(output_, AllOf(ContainsRegex("step-00000010.*whole"),
                               ContainsRegex("step-00000020.*damaged"),
                               HasSubstr(shard(20).string() + ": has 100 bytes instead of ")));
  }
}

TEST_F(CheckpointCommand, OnlyVerifyReadsTheShards) {
  fs::copy_file(shard(20), shard(10), fs::copy_options::overwrite_existing);
  EXPECT_EQ(run("list", run_folder_.path()), ExitCode::success);
  EXPECT_EQ(run("verify", run_folder_.path()), ExitCode::checkpoint);
  EXPECT_THAT(output_, HasSubstr(shard(10).string() + ": its content has changed"));
}

TEST_F(CheckpointCommand, ShowsUnfinishedOnes) {
  fs::create_directory(checkpoints_ / ".tmp-step-00000030");
  EXPECT_EQ(run("list", run_folder_.path()), ExitCode::success);
  EXPECT_THAT(output_, ContainsRegex("\\.tmp-step-00000030.*unfinished"));
}

TEST_F(CheckpointCommand, RefusesOtherFoldersAndActions) {
  const auto error = [&](const std::string& action, const fs::path& path) {
    try {
      const std::vector<std::string> words = {action, path.string()};
      checkpoint_command.run(words);
    } catch (const Error& e) {
      return fmt::format("{}: {}", static_cast<int>(e.code()), e.what());
    }
    return std::string();
  };
  EXPECT_THAT(error("list", run_folder_.path() / "no"), HasSubstr("no: no such folder"));
  const TemporaryFolder empty;
  EXPECT_EQ(error("verify", empty.path()),
            fmt::format("4: {}: holds no checkpoints", empty.path().string()));
  EXPECT_THAT(error("remove", run_folder_.path()),
              HasSubstr("2: remove is none of list, verify, diff"));
}

}  // namespace
}  // namespace dualpath
