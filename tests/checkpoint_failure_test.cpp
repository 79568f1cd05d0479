// What is left on disk when a save fails or is killed, and who may write to a run folder.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <dlfcn.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/checkpoints/run_lock.h"
#include "data/files/file_io.h"
#include "tests/checkpoint_fixture.h"
#include "tests/file_size_limit.h"

// Which of the writes of this process goes nowhere, though it is said to be done; negative: none.
// The library that writes HDF5 files calls these functions too.
static int lost_write = -1;

#define DUALPATH_WRITE(name, result, ...)                                                \
  do {                                                                                   \
    if (lost_write >= 0 && lost_write-- == 0) return result;                             \
    static const auto real = reinterpret_cast<decltype(&name)>(dlsym(RTLD_NEXT, #name)); \
    return real(__VA_ARGS__);                                                            \
  } while (false)

extern "C" ssize_t write(int file, const void* data, size_t size) {
  DUALPATH_WRITE(write, static_cast<ssize_t>(size), file, data, size);
}
extern "C" ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  DUALPATH_WRITE(pwrite, static_cast<ssize_t>(size), file, data, size, offset);
}
extern "C" ssize_t pwrite64(int file, const void* data, size_t size, off64_t offset) {
  DUALPATH_WRITE(pwrite64, static_cast<ssize_t>(size), file, data, size, offset);
}

namespace dualpath {
namespace {

// Loses the index-th write from now on.
class LostWrite {
 public:
  explicit LostWrite(int index) { lost_write = index; }
  ~LostWrite() { lost_write = -1; }
  bool happened() const { return lost_write < 0; }
};

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::chrono_literals;

// Forks a process that runs `work` and ends with 0, or 1 when it throws.
template <class Work>
pid_t start_process(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      work();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  return child;
}

void kill_and_wait(pid_t process) {
  ::kill(process, SIGKILL);
  int status = 0;
  ::waitpid(process, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "ended by itself before it was killed";
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

void expect_whole(const fs::path& checkpoint, std::int64_t step) {
  EXPECT_THAT(verify_checkpoint(checkpoint, *make_self_communicator()), IsEmpty());
  TestSlices loaded = TestSlices::whole();
  load_slices(open_checkpoint(checkpoint), loaded.slices());
  EXPECT_TRUE(loaded.holds(step));
}

TEST(CheckpointFailure, FullDiskLeavesEarlierCheckpointsAlone) {
  const TemporaryFolder folder;
  save_step(folder.path(), 1);
  const fs::path first = folder.path() / checkpoint_name(1);
  const auto shard_bytes = rlim_t{fs::file_size(first / shard_name(0, 1))};
  const std::size_t num_open_files = names_in("/proc/self/fd").size();
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1000}, shard_bytes / 2, shard_bytes - 1}) {
    for (const std::int64_t step : {1, 2}) {
      const FileSizeLimit full(limit);
      EXPECT_THAT(checkpoint_error([&] { save_step(folder.path(), step); }),
                  AllOf(HasSubstr("failed on rank 0"), HasSubstr("shard-00000-of-00001.h5")))
          << limit;
    }
    EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1))) << limit;
    expect_whole(first, 1);
  }
  // A removed file that is still open would keep the disk full.
  EXPECT_EQ(names_in("/proc/self/fd").size(), num_open_files);
  save_step(folder.path(), 2);
  expect_whole(folder.path() / checkpoint_name(2), 2);
}

// Trial S1: a disk that loses one write without a word. For every write of a save the result is a
// refusal, or a checkpoint that holds what was saved (the lost bytes were what is there anyway).
TEST(CheckpointFailure, NoLostWriteEndsAsACheckpoint) {
  TestSlices slices;
  slices.add("a", DType::f32, {100}, 0, 100);
  slices.add("b", DType::f64, {2, 3}, 0, 6);
  slices.fill(1);
  CheckpointManifest manifest;
  manifest.step = 1;
  const auto self = make_self_communicator();
  int num_refused = 0, num_writes = 0;
  for (bool was_lost = true; was_lost; ++num_writes) {
    const TemporaryFolder folder;
    LostWrite lost(num_writes);
    const std::string problem =
        checkpoint_error([&] { save_checkpoint(folder.path(), manifest, slices.slices(), *self); });
    was_lost = lost.happened();
    if (problem.empty()) {
      TestSlices loaded;
      loaded.add("a", DType::f32, {100}, 0, 100);
      loaded.add("b", DType::f64, {2, 3}, 0, 6);
      load_slices(open_whole_checkpoint(folder.path() / checkpoint_name(1), *self),
                  loaded.slices());
      EXPECT_TRUE(loaded.holds(1));
    } else {
      ++num_refused;
      EXPECT_THAT(names_in(folder.path()), IsEmpty()) << problem;
    }
  }
  EXPECT_GT(num_refused, 5) << num_writes;
}

// Root may write anywhere, so it becomes nobody meanwhile.
class ReadOnlyFolder {
 public:
  explicit ReadOnlyFolder(const fs::path& folder) : folder_(folder) {
    fs::permissions(folder_, fs::perms(0555));
    if (is_root_) CHECK(::seteuid(65534) == 0, "seteuid");
  }
  ~ReadOnlyFolder() {
    if (is_root_ && ::seteuid(0) != 0) std::abort();
    fs::permissions(folder_, fs::perms::owner_all);
  }

 private:
  fs::path folder_;
  bool is_root_ = ::geteuid() == 0;
};

TEST(CheckpointFailure, ReadOnlyFolder) {
  const TemporaryFolder folder;
  save_step(folder.path(), 1);
  {
    const ReadOnlyFolder read_only(folder.path());
    EXPECT_THAT(checkpoint_error([&] { save_step(folder.path(), 2); }),
                AllOf(HasSubstr(folder.path().string()), HasSubstr("Permission denied")));
    EXPECT_THAT(checkpoint_error([&] { RunLock lock(folder.path()); }),
                AllOf(HasSubstr(".lock"), HasSubstr("Permission denied")));
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1)));
  expect_whole(folder.path() / checkpoint_name(1), 1);
}

// A job that saves each step, and each even step twice, from where the folder stands.
void save_steps_for_ever(const fs::path& folder) {
  remove_unfinished(folder);
  const std::vector<CheckpointEntry> entries = list_checkpoints(folder);
  for (std::int64_t step = entries.empty() ? 1 : entries.back().step + 1;; ++step) {
    save_step(folder, step);
    if (step % 2 == 0) save_step(folder, step);
    prune_checkpoints(folder, step, 2, 0);
  }
}

TEST(CheckpointFailure, KilledAtAnyMomentTheNewestIsWhole) {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  save_step(folder.path(), 1);
  std::mt19937 random(1);
  // On a busy machine long enough for a few saves too.
  std::uniform_int_distribution<int> wait_us(
      0, std::max<int>(60'000, 4 * (std::chrono::steady_clock::now() - start) / 1us));
  std::int64_t newest = 1;
  int num_interrupted = 0;
  for (int round = 0; round < 30; ++round) {
    const pid_t job = start_process([&] { save_steps_for_ever(folder.path()); });
    std::this_thread::sleep_for(std::chrono::microseconds(wait_us(random)));
    kill_and_wait(job);

    num_interrupted += !list_unfinished(folder.path()).empty();
    remove_unfinished(folder.path());
    const auto found = newest_whole(
        folder.path(), [](const std::string& line) { ADD_FAILURE() << line; },
        *make_self_communicator());
    ASSERT_TRUE(found.has_value());
    EXPECT_GE(found->manifest.step, newest);
    newest = found->manifest.step;
    for (const CheckpointEntry& entry : list_checkpoints(folder.path())) {
      expect_whole(entry.folder, entry.step);
    }
  }
  // Otherwise this test has tried nothing.
  EXPECT_GT(newest, 1);
  EXPECT_GT(num_interrupted, 0);
}

TEST(RunLock, RefusesASecondHolderAndIsFreeAfterwards) {
  const TemporaryFolder temporary;
  const fs::path folder = temporary.path() / "runs" / "name";
  {
    const RunLock lock(folder);
    EXPECT_THAT(checkpoint_error([&] { RunLock second(folder); }),
                HasSubstr(fmt::format("run folder {} is in use by process {} on host ",
                                      folder.string(), ::getpid())));
  }
  EXPECT_EQ(checkpoint_error([&] { RunLock again(folder); }), "");
}

TEST(RunLock, IsFreeWhenItsHolderIsKilled) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t holder = start_process([&] {
    const RunLock lock(folder.path());
    if (::write(ready[1], "x", 1) == 1) ::pause();
  });
  ::close(ready[1]);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);

  EXPECT_THAT(checkpoint_error([&] { RunLock lock(folder.path()); }),
              HasSubstr(fmt::format("is in use by process {} on host ", holder)));
  kill_and_wait(holder);
  EXPECT_EQ(checkpoint_error([&] { RunLock lock(folder.path()); }), "");
}

// Trial C6: a rank whose mpirun was killed holds the folder for a moment. Here it goes when it is
// known that somebody waits.
TEST(RunLock, WaitsForAnOrphan) {
  const TemporaryFolder folder;
  int ready[2], go[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(go), 0);
  const pid_t parent = start_process([&] {
    start_process([&] {
      const RunLock lock(folder.path());
      char byte = 0;
      if (::write(ready[1], "x", 1) != 1 || ::read(go[0], &byte, 1) != 1) std::abort();
    });
    ::pause();
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(checkpoint_error([&] { RunLock lock(folder.path(), {.seconds = 60}); }),
              HasSubstr("is in use by process "));
  kill_and_wait(parent);
  EXPECT_THAT(checkpoint_error([&] { RunLock lock(folder.path(), {.seconds = 0}); }),
              HasSubstr("is in use by process "));
  std::string told;
  const LockPatience patience{.seconds = 60, .tell = [&](const std::string& line) {
                                told += line;
                                EXPECT_EQ(::write(go[1], "x", 1), 1);
                              }};
  EXPECT_EQ(checkpoint_error([&] { RunLock lock(folder.path(), patience); }), "");
  EXPECT_THAT(told, HasSubstr("waiting up to 60 s for process "));
  for (const int end : {ready[0], ready[1], go[0], go[1]}) ::close(end);
}

}  // namespace
}  // namespace dualpath
