#include "data/checkpoint_folder.h"

#include <algorithm>
#include <fmt/format.h>
#include <ranges>
#include <sstream>
#include <system_error>

#include "data/checkpoint_names.h"
#include "data/file_io.h"
#include "data/run_together.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// The names in the folder, sorted; none when there is no such folder.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  if (!fs::exists(folder, error) && !error) return names;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  CHECK_AS(ExitCode::checkpoint, !error, "{}: cannot be listed: {}", folder.string(),
           error.message());
  std::ranges::sort(names);
  return names;
}

}  // namespace

CheckpointEntry look_at_checkpoint(const fs::path& folder) {
  const std::int64_t named_step = step_of_name(folder.filename().string()).value_or(-1);
  try {
    CheckpointManifest manifest = open_checkpoint(folder).manifest;
    const std::int64_t step = manifest.step;
    return {folder, step, std::move(manifest), ""};
  } catch (const Error& error) {
    return {folder, named_step, std::nullopt, error.what()};
  }
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& folder) {
  std::vector<CheckpointEntry> entries;
  for (const std::string& name : names_in(folder)) {
    if (!step_of_name(name)) continue;
    CheckpointEntry entry = look_at_checkpoint(folder / name);
    // A run that is training may have removed it meanwhile.
    if (fs::exists(entry.folder)) entries.push_back(std::move(entry));
  }
  std::ranges::sort(entries, {}, &CheckpointEntry::step);
  return entries;
}

std::vector<fs::path> list_unfinished(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with(temporary_prefix) || name.starts_with(replaced_prefix)) {
      paths.push_back(folder / name);
    }
  }
  return paths;
}

void remove_unfinished(const fs::path& folder) {
  for (const fs::path& path : list_unfinished(folder)) {
    const std::string name = path.filename().string();
    // Killed between the two renames of a replacement: the earlier save is the one that counts.
    if (name.starts_with(replaced_prefix)) {
      const fs::path original = folder / name.substr(std::string_view(replaced_prefix).size());
      if (!fs::exists(original)) {
        publish(path, original, ExitCode::checkpoint);
        continue;
      }
    }
    remove_tree(path, ExitCode::checkpoint);
  }
}

std::optional<Checkpoint> newest_whole(const fs::path& folder,
                                       const std::function<void(const std::string&)>& report,
                                       Communicator& ranks) {
  // The root's listing counts, so that all ranks look at the same checkpoints.
  const std::string steps = run_on_root(ranks, "listing checkpoints", [&] {
    std::string text;
    for (const CheckpointEntry& entry : list_checkpoints(folder)) {
      text = fmt::format("{} {}", entry.step, text);
    }
    return text;
  });
  std::string all_problems;
  std::istringstream newest_first(steps);
  for (std::int64_t step = 0; newest_first >> step;) {
    const fs::path candidate = folder / checkpoint_name(step);
    const std::vector<std::string> problems = verify_checkpoint(candidate, ranks);
    if (problems.empty()) return open_checkpoint(candidate);
    for (const std::string& problem : problems) {
      report(fmt::format("damaged checkpoint {} is passed over: {}", candidate.filename().string(),
                         problem));
      all_problems += '\n' + problem;
    }
  }
  CHECK_AS(ExitCode::checkpoint, all_problems.empty(),
           "{}: no checkpoint is whole; remove them to start anew{}", folder.string(),
           all_problems);
  return std::nullopt;
}

std::vector<std::int64_t> prune_checkpoints(const fs::path& folder, std::int64_t saved_step,
                                            std::int64_t keep_last, std::int64_t keep_every) {
  std::vector<CheckpointEntry> entries = list_checkpoints(folder);
  std::vector<std::int64_t> removed;
  std::int64_t num_whole = 0;
  for (const CheckpointEntry& entry : std::views::reverse(entries)) {
    if (entry.step > saved_step) continue;
    const bool enough = num_whole >= std::max<std::int64_t>(keep_last, 1);
    num_whole += entry.looks_whole();
    if (!enough || (keep_every > 0 && entry.step % keep_every == 0)) continue;
    const fs::path doomed = folder / (temporary_prefix + checkpoint_name(entry.step));
    remove_tree(doomed, ExitCode::checkpoint);
    publish(entry.folder, doomed, ExitCode::checkpoint);
    remove_tree(doomed, ExitCode::checkpoint);
    removed.push_back(entry.step);
  }
  return removed;
}

}  // namespace dualpath
