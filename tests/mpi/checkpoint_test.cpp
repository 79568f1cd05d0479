// Checkpoints that several ranks save together.
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "data/checkpoints/checkpoint_folder.h"
#include "parallel/run_together.h"
#include "tests/checkpoint_fixture.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SharedCheckpoints : public testing::Test {
 protected:
  void TearDown() override { world().barrier(); }

  // This rank's part under cuts of its own for every step.
  void save(std::int64_t step) {
    TestSlices slices =
        TestSlices::cut(static_cast<unsigned>(step), world().rank(), world().size());
    slices.fill(step);
    CheckpointManifest manifest;
    manifest.step = step;
    save_checkpoint(folder_, manifest, slices.slices(), world());
  }

  std::optional<Checkpoint> newest() {
    reports_.clear();
    return newest_whole(
        folder_, [&](const std::string& line) { reports_.push_back(line); }, world());
  }

  const TemporaryFolder temporary_;
  // Rank 0's folder, for all.
  const fs::path folder_ = world().broadcast(temporary_.path().string(), 0);
  std::vector<std::string> reports_;
};

TEST_F(SharedCheckpoints, LoadUnderAnyOtherCut) {
  save(4);
  const Checkpoint saved = open_checkpoint(folder_ / checkpoint_name(4));
  EXPECT_EQ(static_cast<int>(saved.shards.size()), world().size());
  for (int num_parts = 1; num_parts <= 5; ++num_parts) {
    for (int part = 0; part < num_parts; ++part) {
      TestSlices loaded =
          TestSlices::cut(static_cast<unsigned>(100 + world().rank()), part, num_parts);
      load_slices(saved, loaded.slices());
      ASSERT_TRUE(loaded.holds(4)) << "part " << part << " of " << num_parts;
    }
  }
}

TEST_F(SharedCheckpoints, SavedAgainByFewerRanks) {
  save(1);
  const auto half = world().split(world().rank() % 2, 0, "half");
  if (world().rank() % 2 == 0) {
    TestSlices slices = TestSlices::cut(9, half->rank(), half->size());
    load_slices(open_checkpoint(folder_ / checkpoint_name(1)), slices.slices());
    CheckpointManifest manifest;
    manifest.step = 1;
    save_checkpoint(folder_, manifest, slices.slices(), *half);
  }
  world().barrier();
  const auto found = newest();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(static_cast<int>(found->shards.size()), (world().size() + 1) / 2);
  TestSlices loaded = TestSlices::whole();
  load_slices(*found, loaded.slices());
  EXPECT_TRUE(loaded.holds(1));
}

TEST_F(SharedCheckpoints, OneRankOutOfDiskStopsAll) {
  save(1);
  const int failing = world().size() - 1;
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  if (world().rank() == failing) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {2000, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  const std::string message = checkpoint_error([&] { save(2); });
  ::setrlimit(RLIMIT_FSIZE, &before);

  EXPECT_THAT(message, AllOf(HasSubstr(fmt::format("failed on rank {}: ", failing)),
                             HasSubstr(shard_name(failing, world().size()))));
  EXPECT_THAT(world().all_gather(message), Each(message));
  EXPECT_EQ(newest()->manifest.step, 1);
  EXPECT_THAT(list_unfinished(folder_), IsEmpty());
  world().barrier();
  save(2);
  EXPECT_EQ(newest()->manifest.step, 2);
}

TEST_F(SharedCheckpoints, AFailureKeepsItsCodeAndIsTheSameOnAllRanks) {
  const int failing = world().size() - 1;
  try {
    run_together(world(), "trying", [&]() -> std::string {
      CHECK_AS(ExitCode::data, world().rank() != failing, "a: b\nc");
      return "fine";
    });
    ADD_FAILURE() << "no error";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_EQ(error.what(), fmt::format("trying failed on rank {}: a: b\nc", failing));
  }
}

TEST_F(SharedCheckpoints, SlicesThatTwoRanksHoldAreRefused) {
  TestSlices slices;
  slices.add("t", DType::f32, {10}, 0, 10);
  const std::string message =
      checkpoint_error([&] { save_checkpoint(folder_, {}, slices.slices(), world()); });
  if (world().size() == 1) {
    EXPECT_EQ(message, "");
  } else {
    EXPECT_THAT(message, HasSubstr("tensor 't' [10]: shards 0 and 1 both hold [0, 10)"));
    EXPECT_FALSE(newest().has_value());
  }
}

// Same sizes, so that only the content tells.
TEST_F(SharedCheckpoints, SwappedShardsAreNoticedByAllRanks) {
  if (world().size() == 1) return;
  save(1);
  TestSlices slices;
  const std::int64_t rank = world().rank();
  slices.add("t", DType::f32, {world().size(), 100}, rank * 100, rank * 100 + 100);
  slices.fill(2);
  CheckpointManifest manifest;
  manifest.step = 2;
  save_checkpoint(folder_, manifest, slices.slices(), world());
  const fs::path checkpoint = folder_ / checkpoint_name(2);
  if (rank == 0) {
    const fs::path a = checkpoint / shard_name(0, world().size());
    const fs::path b = checkpoint / shard_name(1, world().size());
    ASSERT_EQ(fs::file_size(a), fs::file_size(b));
    fs::rename(a, checkpoint / "other");
    fs::rename(b, a);
    fs::rename(checkpoint / "other", b);
  }
  world().barrier();
  const std::string problem =
      checkpoint_error([&] { load_slices(open_checkpoint(checkpoint), slices.slices()); });
  EXPECT_THAT(problem, HasSubstr(shard_name(0, world().size())));  // their indexes tell
  const auto found = newest();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->manifest.step, 1);
  EXPECT_THAT(reports_, ElementsAre(HasSubstr(shard_name(0, world().size())),
                                    HasSubstr(shard_name(1, world().size()))));
}

}  // namespace
}  // namespace dualpath
