#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/files/hdf5_file.h"
#include "launcher/commands.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"
#include "tests/test_corpus.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// What the verb prints.
std::string output_of(const std::vector<std::string>& words) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(data_command.run(words), ExitCode::success);
  return testing::internal::GetCapturedStdout();
}

void damage_tokens(const std::string& shard) {
  const auto at = static_cast<std::streamoff>(
      Hdf5File::open(shard, ExitCode::data).dataset("tokens").file_offset);
  std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

TEST(DataCommand, InfoTellsCorporaAndShards) {
  const TemporaryFolder folder;
  make_test_corpus(folder / "novels", 12'345);
  const std::string text =
      output_of({"info", folder / "novels", folder / "novels/tokens-00000.h5"});
  // 12345 tokens in documents of 7; shards hold at most a third of them and a document.
  EXPECT_THAT(text, ContainsRegex("novels +12,345 +1,764 +[0-9.]+ +1,000 +3 +abc\n"));
  EXPECT_THAT(text, ContainsRegex("tokens-00000.h5 +4,116 +588 +[0-9.]+ +1,000 +1 +abc\n"));
}

TEST(DataCommand, VerifyTellsEveryDamagedShard) {
  const TemporaryFolder folder;
  make_test_corpus(folder / "good", 1000);
  make_test_corpus(folder / "bad", 1000);
  EXPECT_THAT(output_of({"verify", folder / "good", folder / "bad/tokens-00001.h5"}),
              HasSubstr("good: 1,000 tokens verified, all well"));
  damage_tokens(folder / "bad/tokens-00000.h5");
  damage_tokens(folder / "bad/tokens-00002.h5");
  testing::internal::CaptureStdout();
  const std::string error = error_of(ExitCode::data, [&] {
    data_command.run(
        std::vector<std::string>{"verify", folder / "missing", folder / "bad", folder / "good"});
  });
  EXPECT_THAT(error, AllOf(HasSubstr("missing"), HasSubstr("bad/tokens-00000.h5: damaged tokens"),
                           HasSubstr("bad/tokens-00002.h5: damaged tokens"),
                           Not(HasSubstr("tokens-00001.h5"))));
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("bad: "), HasSubstr(", 2 problems"),
                    HasSubstr("good: 1,000 tokens verified, all well")));
}

TEST(DataCommand, RefusesOtherWords) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"info"}, {"inspect", "x"}, {"info", "x", "a=1"}}) {
    EXPECT_THAT(error_of(ExitCode::configuration, [&] { data_command.run(words); }),
                HasSubstr("usage: dualpath data info|verify PATH..."));
  }
}

}  // namespace
}  // namespace dualpath
