// dualpath checkpoint: which checkpoints there are, and whether they are whole.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* usage = "dualpath checkpoint list|verify FOLDER...";

std::string checkpoint_help() {
  return fmt::format(
      R"(Lists or checks checkpoints. Changes nothing; may be used while a run is training.

usage: {}

FOLDER is a run folder, its folder of checkpoints, or one checkpoint.

  list    one line a checkpoint; reads manifests and file sizes only
  verify  reads all shards and compares them with the hashes of what was saved

A checkpoint that a training run removes meanwhile, after a newer save, is not damaged: the newer
one is checked. Exit code 4 if a checkpoint is damaged.
)",
      usage);
}

// What lies at the path that the user gave.
struct Place {
  fs::path checkpoint;  // one checkpoint; else
  fs::path folder;      // a folder of checkpoints

  std::vector<CheckpointEntry> look() const {
    if (folder.empty()) return {look_at_checkpoint(checkpoint)};
    return list_checkpoints(folder);
  }
  std::vector<fs::path> unfinished() const {
    return folder.empty() ? std::vector<fs::path>{} : list_unfinished(folder);
  }
};

Place find_checkpoints(fs::path path) {
  if (!path.has_filename()) path = path.parent_path();  // "runs/name/"
  CHECK_AS(ExitCode::checkpoint, is_folder(path, ExitCode::checkpoint), "{}: no such folder",
           path.string());
  if (path_exists(path / manifest_name, ExitCode::checkpoint) ||
      step_of_name(path.filename().string())) {
    return {path, {}};
  }
  const fs::path inner = path / "checkpoints";
  Place place{{}, is_folder(inner, ExitCode::checkpoint) ? inner : path};
  CHECK_AS(ExitCode::checkpoint, !list_steps(place.folder).empty() || !place.unfinished().empty(),
           "{}: holds no checkpoints", path.string());
  return place;
}

double mebibytes(const CheckpointManifest& manifest) {
  return static_cast<double>(manifest.shards.bytes) / (1 << 20);
}

// The lines of `text`, indented.
void print_problem(const std::string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    fmt::print("    {}\n", text.substr(begin, end - begin));
    begin = end + 1;
  }
}

// Both actions return the number of damaged checkpoints.

int list(const Place& place) {
  int num_damaged = 0;
  fmt::print("{:<20}{:>8}{:>14}{:>14}{:>18}  state\n", "checkpoint", "shards", "MiB", "samples",
             "tokens");
  for (const CheckpointEntry& entry : place.look()) {
    const std::string name = entry.folder.filename().string();
    if (entry.looks_whole()) {
      const CheckpointManifest& manifest = *entry.manifest;
      fmt::print("{:<20}{:>8}{:>14.2f}{:>14}{:>18}  whole\n", name, manifest.shards.count,
                 mebibytes(manifest), manifest.consumed_samples, manifest.consumed_tokens);
    } else {
      ++num_damaged;
      fmt::print("{:<74}  damaged\n", name);
      print_problem(entry.problem);
    }
  }
  for (const fs::path& path : place.unfinished()) {
    fmt::print("{:<74}  unfinished\n", path.filename().string());
  }
  return num_damaged;
}

enum class Verdict { whole, damaged, removed };

Verdict verify(const fs::path& folder) {
  const auto self = make_self_communicator();
  const FolderIdentity before = identity_of(folder);
  try {
    const Checkpoint checkpoint = open_whole_checkpoint(folder, *self);
    fmt::print("{}: whole, {:.2f} MiB read\n", folder.string(), mebibytes(checkpoint.manifest));
    return Verdict::whole;
  } catch (const Error& error) {
    if (is_gone(folder, before)) {
      fmt::print("{}: removed while it was read\n", folder.string());
      return Verdict::removed;
    }
    fmt::print("{}: damaged\n", folder.string());
    print_problem(error.what());
    return Verdict::damaged;
  }
}

int verify(const Place& place) {
  if (place.folder.empty()) return verify(place.checkpoint) != Verdict::whole;
  int num_damaged = 0;
  std::int64_t seen = -1;  // the newest step
  for (bool is_one_gone = true; std::exchange(is_one_gone, false);) {
    for (const std::int64_t step : list_steps(place.folder)) {
      if (step <= seen) continue;
      seen = step;
      const Verdict verdict = verify(place.folder / checkpoint_name(step));
      is_one_gone |= verdict == Verdict::removed;
      num_damaged += verdict == Verdict::damaged;
      std::fflush(stdout);
    }
  }
  return num_damaged;
}

ExitCode run_checkpoint(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 2, words.size());
  CHECK_AS(ExitCode::configuration, arguments.overrides.empty(),
           "{}: the verb has no options\nusage: {}", arguments.overrides.front(), usage);
  const std::string& action = arguments.positional.front();
  CHECK_AS(ExitCode::configuration, action == "list" || action == "verify",
           "{} is neither list nor verify\nusage: {}", action, usage);
  int num_damaged = 0;
  for (const std::string& path : std::span(arguments.positional).subspan(1)) {
    const Place place = find_checkpoints(path);
    num_damaged += action == "list" ? list(place) : verify(place);
  }
  return num_damaged == 0 ? ExitCode::success : ExitCode::checkpoint;
}

}  // namespace

const Command checkpoint_command = {"checkpoint", "list and verify checkpoints", checkpoint_help,
                                    run_checkpoint};

}  // namespace dualpath
