// dualpath checkpoint: which checkpoints there are, and whether they are whole.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "data/checkpoint_folder.h"
#include "launcher/arguments.h"
#include "launcher/commands.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* usage = "dualpath checkpoint list|verify FOLDER...";

std::string checkpoint_help() {
  return fmt::format(
      "Shows or checks checkpoints. Changes nothing; may be used while a run is training.\n\n"
      "usage: {}\n\n"
      "FOLDER is a run folder, its folder of checkpoints, or one checkpoint.\n\n"
      "  list    a line a checkpoint; looks at manifests and file sizes only\n"
      "  verify  reads all shards and compares their hashes with the manifest's\n\n"
      "Exit code 4 when a checkpoint is damaged.\n",
      usage);
}

// What lies at the path that the user gave.
struct Found {
  std::vector<CheckpointEntry> checkpoints;
  std::vector<fs::path> unfinished;
};

Found find_checkpoints(fs::path path) {
  if (!path.has_filename()) path = path.parent_path();  // "runs/name/"
  CHECK_AS(ExitCode::checkpoint, fs::is_directory(path), "{}: no such folder", path.string());
  if (fs::exists(path / manifest_name) || step_of_name(path.filename().string())) {
    return {{look_at_checkpoint(path)}, {}};
  }
  const fs::path folder = fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
  Found found{list_checkpoints(folder), list_unfinished(folder)};
  CHECK_AS(ExitCode::checkpoint, !found.checkpoints.empty() || !found.unfinished.empty(),
           "{}: holds no checkpoints", path.string());
  return found;
}

double mebibytes(const CheckpointManifest& manifest) {
  std::int64_t bytes = 0;
  for (const CheckpointShard& shard : manifest.shards) bytes += shard.bytes;
  return static_cast<double>(bytes) / (1 << 20);
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

int list(const Found& found) {
  int num_damaged = 0;
  fmt::print("{:<20}{:>8}{:>14}{:>14}{:>18}  state\n", "checkpoint", "shards", "MiB", "samples",
             "tokens");
  for (const CheckpointEntry& entry : found.checkpoints) {
    const std::string name = entry.folder.filename().string();
    if (entry.looks_whole()) {
      const CheckpointManifest& manifest = *entry.manifest;
      fmt::print("{:<20}{:>8}{:>14.2f}{:>14}{:>18}  whole\n", name, manifest.shards.size(),
                 mebibytes(manifest), manifest.consumed_samples, manifest.consumed_tokens);
    } else {
      ++num_damaged;
      fmt::print("{:<74}  damaged\n", name);
      print_problem(entry.problem);
    }
  }
  for (const fs::path& path : found.unfinished) {
    fmt::print("{:<74}  unfinished\n", path.filename().string());
  }
  return num_damaged;
}

int verify(const Found& found) {
  int num_damaged = 0;
  const auto self = make_self_communicator();
  for (const CheckpointEntry& entry : found.checkpoints) {
    const std::vector<std::string> problems = verify_checkpoint(entry.folder, *self);
    fmt::print("{}: {}\n", entry.folder.string(),
               problems.empty() ? fmt::format("whole, {:.2f} MiB read", mebibytes(*entry.manifest))
                                : "damaged");
    for (const std::string& problem : problems) print_problem(problem);
    std::fflush(stdout);
    num_damaged += !problems.empty();
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
    const Found found = find_checkpoints(path);
    num_damaged += action == "list" ? list(found) : verify(found);
  }
  return num_damaged == 0 ? ExitCode::success : ExitCode::checkpoint;
}

}  // namespace

const Command checkpoint_command = {"checkpoint", "list and verify checkpoints", checkpoint_help,
                                    run_checkpoint};

}  // namespace dualpath
