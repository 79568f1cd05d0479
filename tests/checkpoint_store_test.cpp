#include "data/checkpoints/checkpoint_store.h"

#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "tests/checkpoint_fixture.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointStore : public testing::Test {
 protected:
  fs::path checkpoint(std::int64_t step) const { return folder_ / checkpoint_name(step); }
  fs::path shard(std::int64_t step) const { return checkpoint(step) / shard_name(0, 1); }

  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> steps;
    for (const CheckpointEntry& entry : list_checkpoints(folder_)) steps.push_back(entry.step);
    return steps;
  }

  // The step of the newest whole checkpoint, 0 when there is none; its content is checked.
  std::int64_t newest() {
    reports_.clear();
    const auto found = newest_whole(
        folder_, [&](const std::string& line) { reports_.push_back(line); }, *self_);
    if (!found) return 0;
    TestSlices loaded = TestSlices::whole();
    load_slices(*found, loaded.slices());
    EXPECT_TRUE(loaded.holds(found->manifest.step));
    return found->manifest.step;
  }

  TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path() / "checkpoints";
  const std::unique_ptr<Communicator> self_ = make_self_communicator();
  std::vector<std::string> reports_;
};

void flip_bit(const fs::path& path, std::uintmax_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 1));
  ASSERT_TRUE(file.good());
}

TEST_F(CheckpointStore, LoadsUnderAnyCut) {
  save_step(folder_, 3);
  const Checkpoint saved = open_checkpoint(checkpoint(3));
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const int num_parts = 1 + static_cast<int>(seed % 5);
    for (int part = 0; part < num_parts; ++part) {
      TestSlices loaded = TestSlices::cut(seed, part, num_parts);
      load_slices(saved, loaded.slices());
      ASSERT_TRUE(loaded.holds(3)) << "seed " << seed << ", part " << part << " of " << num_parts;
    }
  }
}

TEST_F(CheckpointStore, KeepsTheManifest) {
  TestSlices slices;
  slices.add("t", DType::f32, {2, 3}, 0, 6);
  CheckpointManifest manifest;
  manifest.step = 7;
  manifest.consumed_samples = 8;
  manifest.consumed_tokens = 9;
  manifest.model = "model: {}\n";
  manifest.tokenizer_hash = "abc";
  manifest.layout = {{"ranks", "1"}};
  manifest.environment = {{"threads_per_rank", "2"}};
  manifest.state = {{"sampler", "42"}};
  save_checkpoint(folder_, manifest, slices.slices(), *self_);

  const FileDigest file = digest_file(shard(7), ExitCode::checkpoint);
  const std::string list = read_file(checkpoint(7) / shards_name, ExitCode::checkpoint);
  manifest.shards = {1, file.bytes, checksum_of(std::as_bytes(std::span(list)))};
  const Checkpoint saved = open_checkpoint(checkpoint(7));
  EXPECT_EQ(saved.manifest, manifest);
  ASSERT_EQ(saved.shards.size(), 1u);
  EXPECT_EQ(saved.shards[0].file, shard_name(0, 1));
  EXPECT_EQ(saved.shards[0].bytes, file.bytes);
  EXPECT_EQ(saved.shards[0].xxh3, file.xxh3);
  EXPECT_THAT(saved.tensors, ElementsAre(CheckpointTensor{"t", DType::f32, {2, 3}, {{0, 0, 6}}}));
  EXPECT_EQ(saved.find("t"), &saved.tensors[0]);
  EXPECT_EQ(saved.find("a"), nullptr);
  EXPECT_EQ(saved.find("z"), nullptr);
}

TEST_F(CheckpointStore, RefusesTensorsThatAreNotInIt) {
  save_step(folder_, 1);
  const Checkpoint saved = open_checkpoint(checkpoint(1));
  const auto problem = [&](const char* name, DType dtype, Shape shape) {
    TestSlices wanted;
    wanted.add(name, dtype, shape, 0, shape.numel());
    return checkpoint_error([&] { load_slices(saved, wanted.slices()); });
  };
  EXPECT_EQ(problem("parameters/scalar", DType::f32, {1}), "");
  EXPECT_THAT(problem("parameters/other", DType::f32, {4}),
              HasSubstr("holds no tensor 'parameters/other' (f32 [4] is wanted)"));
  EXPECT_THAT(problem("parameters/embedding", DType::f32, {64, 301}),
              HasSubstr("tensor 'parameters/embedding' is f32 [301, 64], but f32 [64, 301] is"));
  EXPECT_THAT(problem("parameters/embedding", DType::f64, {301, 64}),
              HasSubstr("tensor 'parameters/embedding' is f32 [301, 64], but f64 [301, 64] is"));
}

TEST_F(CheckpointStore, SavesNothingThatIsIncomplete) {
  TestSlices half;
  half.add("t", DType::f32, {2, 3}, 0, 3);
  EXPECT_THAT(checkpoint_error([&] { save_checkpoint(folder_, {}, half.slices(), *self_); }),
              HasSubstr("tensor 't' [2, 3]: no shard holds [3, 6)"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(CheckpointStore, ReplacesAnEarlierSaveOfTheSameStep) {
  save_step(folder_, 5);
  flip_bit(shard(5), fs::file_size(shard(5)) / 2);
  save_step(folder_, 5);
  EXPECT_EQ(newest(), 5);
  EXPECT_THAT(list_unfinished(folder_), IsEmpty());
}

// Each kind of damage to the newest is noticed and named, and the one before is taken.
class CheckpointDamage : public CheckpointStore {
 protected:
  void SetUp() override {
    for (const std::int64_t step : {10, 20, 30}) save_step(folder_, step);
  }

  void expect_passed_over(const testing::Matcher<const std::string&>& problem) {
    EXPECT_EQ(newest(), 20);
    EXPECT_THAT(reports_, ElementsAre(AllOf(HasSubstr(checkpoint_name(30)), problem)));
  }
};

TEST_F(CheckpointDamage, None) {
  EXPECT_EQ(newest(), 30);
  EXPECT_THAT(reports_, IsEmpty());
  EXPECT_THAT(verify_checkpoint(checkpoint(30), *self_), IsEmpty());
}

TEST_F(CheckpointDamage, TruncatedShard) {
  fs::resize_file(shard(30), fs::file_size(shard(30)) - 1);
  expect_passed_over(AllOf(HasSubstr(shard(30).string()), HasSubstr("bytes instead of")));
}

TEST_F(CheckpointDamage, FlippedBitAnywhereInAShard) {
  const std::uintmax_t size = fs::file_size(shard(30));
  for (const std::uintmax_t offset : {std::uintmax_t{0}, size / 3, size / 2, size - 1}) {
    flip_bit(shard(30), offset);
    expect_passed_over(AllOf(HasSubstr(shard(30).string()), HasSubstr("content has changed")));
    flip_bit(shard(30), offset);
  }
  EXPECT_EQ(newest(), 30);
}

TEST_F(CheckpointDamage, EveryBitOfTheSmallFiles) {
  for (const char* name : {manifest_name, shards_name}) {
    const fs::path path = checkpoint(30) / name;
    const std::uintmax_t size = fs::file_size(path);
    for (std::uintmax_t offset = 0; offset < size; ++offset) {
      flip_bit(path, offset);
      EXPECT_THAT(verify_checkpoint(checkpoint(30), *self_),
                  ElementsAre(AllOf(HasSubstr(path.string()), HasSubstr("is damaged"))))
          << offset;
      flip_bit(path, offset);
    }
  }
  EXPECT_EQ(newest(), 30);
}

TEST_F(CheckpointDamage, MissingOrTruncatedListOfShards) {
  const fs::path path = checkpoint(30) / shards_name;
  fs::resize_file(path, fs::file_size(path) - 1);
  expect_passed_over(AllOf(HasSubstr(path.string()), HasSubstr("is damaged")));
  fs::remove(path);
  expect_passed_over(AllOf(HasSubstr(path.string()), HasSubstr("No such file")));
}

// Trial C4: such files hung the program, or ate its memory.
TEST_F(CheckpointDamage, FilesThatAreNoFilesOrFarTooLarge) {
  for (const fs::path& path :
       {checkpoint(30) / manifest_name, checkpoint(30) / shards_name, shard(30)}) {
    const fs::path kept = path.string() + ".kept";
    fs::rename(path, kept);
    ASSERT_EQ(::mkfifo(path.c_str(), 0666), 0);
    expect_passed_over(HasSubstr(path.string()));
    fs::remove(path);
    fs::create_symlink("/dev/zero", path);
    expect_passed_over(HasSubstr(path.string()));
    fs::remove(path);
    std::ofstream(path).close();
    fs::resize_file(path, std::uintmax_t{1} << 40);
    expect_passed_over(HasSubstr(fmt::format("has {} bytes", std::uintmax_t{1} << 40)));
    fs::rename(kept, path);
  }
  EXPECT_EQ(newest(), 30);
}

TEST_F(CheckpointDamage, MissingShard) {
  fs::remove(shard(30));
  expect_passed_over(AllOf(HasSubstr(shard(30).string()), HasSubstr("No such file")));
}

TEST_F(CheckpointDamage, ShardOfAnotherCheckpoint) {
  fs::copy_file(shard(20), shard(30), fs::copy_options::overwrite_existing);
  expect_passed_over(HasSubstr("content has changed"));
}

TEST_F(CheckpointDamage, ManifestOfAnotherCheckpoint) {
  fs::copy_file(checkpoint(20) / manifest_name, checkpoint(30) / manifest_name,
                fs::copy_options::overwrite_existing);
  expect_passed_over(HasSubstr("is of step 20"));
}

TEST_F(CheckpointDamage, MissingTruncatedOrChangedManifest) {
  const fs::path path = checkpoint(30) / manifest_name;
  const std::string text = read_file(path, ExitCode::checkpoint);
  for (const std::string& damaged : {std::string(), text.substr(0, text.size() / 2),
                                     text.substr(0, text.size() - 1), text + "\n", "x" + text}) {
    write_file(path, damaged, ExitCode::checkpoint);
    expect_passed_over(AllOf(HasSubstr(path.string()), HasSubstr("is damaged")));
  }
  fs::remove(path);
  expect_passed_over(AllOf(HasSubstr(path.string()), HasSubstr("No such file")));
}

TEST_F(CheckpointDamage, EmptyFolderOfAFinalName) {
  fs::remove_all(checkpoint(30));
  fs::create_directory(checkpoint(30));
  expect_passed_over(HasSubstr(manifest_name));
}

TEST_F(CheckpointDamage, OfTheNewestTwo) {
  flip_bit(shard(30), 100);
  fs::remove(shard(20));
  EXPECT_EQ(newest(), 10);
  EXPECT_THAT(reports_,
              ElementsAre(HasSubstr(checkpoint_name(30)), HasSubstr(checkpoint_name(20))));
}

TEST_F(CheckpointDamage, OfAllIsAnError) {
  for (const std::int64_t step : {10, 20, 30}) fs::remove(shard(step));
  EXPECT_THAT(checkpoint_error([&] { newest(); }),
              AllOf(HasSubstr("no checkpoint is whole"), HasSubstr(shard(10).string()),
                    HasSubstr(shard(20).string()), HasSubstr(shard(30).string())));
}

TEST_F(CheckpointDamage, LoadingASwappedShardIsAnError) {
  // Same size, other content: open_checkpoint does not read it, load_slices does.
  const std::string bytes(fs::file_size(shard(30)), 'x');
  write_file(shard(30), bytes, ExitCode::checkpoint);
  TestSlices wanted = TestSlices::whole();
  EXPECT_THAT(
      checkpoint_error([&] { load_slices(open_checkpoint(checkpoint(30)), wanted.slices()); }),
      HasSubstr(shard(30).string()));
}

TEST_F(CheckpointDamage, ListShowsWhichLooksWhole) {
  fs::remove(shard(20));
  const std::vector<CheckpointEntry> entries = list_checkpoints(folder_);
  ASSERT_THAT(steps(), ElementsAre(10, 20, 30));
  EXPECT_TRUE(entries[0].looks_whole());
  EXPECT_FALSE(entries[1].looks_whole());
  EXPECT_THAT(entries[1].problem, HasSubstr(shard(20).string()));
  EXPECT_TRUE(entries[2].looks_whole());
}

// A group of one that does something after the first of its all_gathers.
class InterruptedGroup final : public Communicator {
 public:
  explicit InterruptedGroup(std::function<void()> interruption)
      : Communicator("self", 0, 1), interruption_(std::move(interruption)) {}
  std::vector<std::string> all_gather(const std::string& message) override {
    if (interruption_) std::exchange(interruption_, nullptr)();
    return {message};
  }
  std::string broadcast(const std::string& message, int) override { return message; }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int, const std::string& name) override {
    return make_self_communicator(name);
  }

 private:
  void start_all_reduce(Tensor, Reduce, Stream&) override {}
  void start_all_gather(Tensor, Tensor, Stream&) override {}
  void start_reduce_scatter(Tensor, Tensor, Stream&) override {}
  void start_broadcast(Tensor, int, Stream&) override {}
  void start_exchange(std::span<const Transfer>, Stream&) override {}

  std::function<void()> interruption_;
};

// Trial C7: a checkpoint that a running job removed while it was read was called damaged.
TEST_F(CheckpointStore, LooksAgainWhereTheNewestIsRemovedMeanwhile) {
  save_step(folder_, 1);
  InterruptedGroup reader([&] {
    save_step(folder_, 2);
    prune_checkpoints(folder_, 2, 1, 0);
  });
  const auto found = newest_whole(
      folder_, [](const std::string& line) { ADD_FAILURE() << line; }, reader);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->manifest.step, 2);
  EXPECT_FALSE(found->is_gone());
  save_step(folder_, 2);  // another of this name
  EXPECT_TRUE(found->is_gone());
}

TEST_F(CheckpointStore, NoFolderMeansNoCheckpoints) {
  EXPECT_THAT(list_checkpoints(folder_), IsEmpty());
  EXPECT_EQ(newest(), 0);
}

TEST_F(CheckpointStore, OrdersStepsByNumber) {
  for (const std::int64_t step : {100'000'000, 99'999'999, 5}) save_step(folder_, step);
  fs::create_directory(folder_ / "step-6");  // not a name of ours
  EXPECT_THAT(steps(), ElementsAre(5, 99'999'999, 100'000'000));
}

TEST_F(CheckpointStore, LeftOversAreNoCheckpointsAndGoWithTheNextSave) {
  save_step(folder_, 1);
  fs::copy(checkpoint(1), folder_ / ".tmp-step-00000002");
  EXPECT_EQ(newest(), 1);
  EXPECT_THAT(list_unfinished(folder_), ElementsAre(folder_ / ".tmp-step-00000002"));
  save_step(folder_, 3);
  EXPECT_THAT(list_unfinished(folder_), IsEmpty());
  EXPECT_THAT(steps(), ElementsAre(1, 3));
}

TEST_F(CheckpointStore, AReplacementThatWasKilledHalfwayIsUndone) {
  save_step(folder_, 1);
  fs::rename(checkpoint(1), folder_ / ".old-step-00000001");
  remove_unfinished(folder_);
  EXPECT_EQ(newest(), 1);

  // Killed one step later, the new save is in place and the old one goes.
  fs::copy(checkpoint(1), folder_ / ".old-step-00000001");
  remove_unfinished(folder_);
  EXPECT_EQ(newest(), 1);
  EXPECT_THAT(list_unfinished(folder_), IsEmpty());
}

class CheckpointPruning : public CheckpointStore {
 protected:
  void SetUp() override {
    for (std::int64_t step = 1; step <= 7; ++step) save_step(folder_, step);
  }
};

TEST_F(CheckpointPruning, KeepsTheLast) {
  EXPECT_THAT(prune_checkpoints(folder_, 7, 2, 0), ElementsAre(5, 4, 3, 2, 1));
  EXPECT_THAT(steps(), ElementsAre(6, 7));
  EXPECT_THAT(prune_checkpoints(folder_, 7, 2, 0), IsEmpty());
  EXPECT_THAT(list_unfinished(folder_), IsEmpty());
}

TEST_F(CheckpointPruning, KeepsMultiples) {
  prune_checkpoints(folder_, 7, 1, 3);
  EXPECT_THAT(steps(), ElementsAre(3, 6, 7));
}

TEST_F(CheckpointPruning, NeverRemovesTheNewestWhole) {
  fs::remove(shard(7));
  fs::remove(shard(6));
  prune_checkpoints(folder_, 7, 0, 0);
  EXPECT_THAT(steps(), ElementsAre(5, 6, 7));
  EXPECT_EQ(newest(), 5);
}

TEST_F(CheckpointPruning, CountsOnlyWholeOnes) {
  fs::remove(shard(6));
  prune_checkpoints(folder_, 7, 2, 0);
  EXPECT_THAT(steps(), ElementsAre(5, 6, 7));
  for (std::int64_t step = 5; step <= 7; ++step) fs::remove_all(checkpoint(step) / manifest_name);
  EXPECT_THAT(prune_checkpoints(folder_, 7, 1, 0), IsEmpty());
}

// The files that are opened in folders while this lives.
class OpenedFiles {
 public:
  explicit OpenedFiles(std::span<const fs::path> folders) {
    for (const fs::path& folder : folders) {
      folder_of_watch_[::inotify_add_watch(events_, folder.c_str(), IN_OPEN)] =
          folder.filename().string();
    }
  }
  ~OpenedFiles() { ::close(events_); }

  // "FOLDER/FILE", each once, in order of name, since the last call.
  std::set<std::string> take() {
    std::set<std::string> names;
    alignas(inotify_event) char buffer[1 << 16];
    for (ssize_t size; (size = ::read(events_, buffer, sizeof buffer)) > 0;) {
      for (const char* at = buffer; at < buffer + size;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        if (event->len > 0 && (event->mask & IN_ISDIR) == 0) {
          names.insert(folder_of_watch_[event->wd] + "/" + event->name);
        }
        at += sizeof(inotify_event) + event->len;
      }
    }
    return names;
  }

 private:
  int events_ = ::inotify_init1(IN_NONBLOCK);
  std::map<int, std::string> folder_of_watch_;
};

// Trial R4: at each save, and at the start, every checkpoint that was kept was read.
TEST_F(CheckpointPruning, NothingOlderThanNeededIsOpened) {
  std::vector<fs::path> folders;
  for (const std::int64_t step : steps()) folders.push_back(checkpoint(step));
  const auto files = [&](std::int64_t step, bool shards_too) {
    std::set<std::string> names;
    for (const std::string& name : {std::string(manifest_name), std::string(shards_name)}) {
      names.insert(checkpoint_name(step) + "/" + name);
    }
    if (shards_too) names.insert(checkpoint_name(step) + "/" + shard_name(0, 1));
    return names;
  };
  OpenedFiles opened(folders);
  EXPECT_EQ(newest(), 7);
  EXPECT_EQ(opened.take(), files(7, true));
  list_steps(folder_);
  EXPECT_THAT(opened.take(), IsEmpty());
  look_at_checkpoint(checkpoint(7));
  EXPECT_EQ(opened.take(), files(7, false));

  prune_checkpoints(folder_, 7, 2, 2);
  std::set<std::string> expected = files(7, false);
  expected.merge(files(6, false));
  EXPECT_EQ(opened.take(), expected);
  EXPECT_THAT(steps(), ElementsAre(2, 4, 6, 7));
}

TEST_F(CheckpointPruning, LeavesWhatTheRunHasPassedOver) {
  EXPECT_THAT(prune_checkpoints(folder_, 4, 1, 0), ElementsAre(3, 2, 1));
  EXPECT_THAT(steps(), ElementsAre(4, 5, 6, 7));
}

}  // namespace
}  // namespace dualpath
