#include "data/checkpoints/checkpoint_folder.h"

#include <algorithm>
#include <fmt/ranges.h>
#include <set>
#include <sstream>

#include "data/checkpoints/checkpoint_names.h"
#include "data/files/file_io.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// How often to look again where a run that is training has removed what was being looked at. Each
// time it has saved a newer one.
constexpr int max_attempts = 100;

// The names in the folder, sorted; none when there is no such folder.
std::vector<std::string> names_if_there(const fs::path& folder) {
  if (!path_exists(folder, ExitCode::checkpoint)) return {};
  return names_in(folder, ExitCode::checkpoint);
}

}  // namespace

CheckpointEntry look_at_checkpoint(const fs::path& folder) {
  const std::int64_t named_step = step_of_name(folder.filename().string()).value_or(-1);
  try {
    CheckpointManifest manifest = read_manifest(folder);
    const std::int64_t step = manifest.step;
    return {folder, step, std::move(manifest), ""};
  } catch (const Error& error) {
    return {folder, named_step, std::nullopt, error.what()};
  }
}

std::vector<std::int64_t> list_steps(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  for (const std::string& name : names_if_there(folder)) {
    if (const auto step = step_of_name(name)) steps.push_back(*step);
  }
  std::ranges::sort(steps);
  return steps;
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& folder) {
  std::vector<CheckpointEntry> entries;
  for (int attempt = 0; attempt < max_attempts; ++attempt) {
    entries.clear();
    bool are_some_gone = false;
    for (const std::int64_t step : list_steps(folder)) {
      const fs::path path = folder / checkpoint_name(step);
      const FolderIdentity before = identity_of(path);
      CheckpointEntry entry = look_at_checkpoint(path);
      const bool was_removed = !entry.looks_whole() && is_gone(path, before);
      are_some_gone |= was_removed;
      if (!was_removed) entries.push_back(std::move(entry));
    }
    if (!are_some_gone) break;
  }
  return entries;
}

std::vector<fs::path> list_unfinished(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const std::string& name : names_if_there(folder)) {
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
      if (!path_exists(original, ExitCode::checkpoint)) {
        publish(path, original, ExitCode::checkpoint);
        continue;
      }
    }
    remove_tree(path, ExitCode::checkpoint);
  }
}

namespace {

// A checkpoint that another version of the program wrote is no damaged one.
void refuse_other_format(const fs::path& checkpoint) {
  try {
    read_manifest(checkpoint);
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error&) {
    // Damage is told by who opens it.
  }
}

// Looks for the newest whole checkpoint.
class Search {
 public:
  Search(const fs::path& folder, const std::function<void(const std::string&)>& report,
         Communicator& ranks)
      : folder_(folder), report_(report), ranks_(ranks) {}

  std::optional<Checkpoint> run() {
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
      is_one_gone_ = false;
      // The root's listing counts, so that all ranks look at the same checkpoints.
      std::istringstream newest_first(run_on_root(ranks_, "listing checkpoints", [&] {
        const std::vector<std::int64_t> steps = list_steps(folder_);
        return fmt::format("{}", fmt::join(steps.rbegin(), steps.rend(), " "));
      }));
      for (std::int64_t step = 0; !is_one_gone_ && newest_first >> step;) {
        if (auto found = look_at(folder_ / checkpoint_name(step))) return found;
      }
      if (!is_one_gone_) break;
    }
    CHECK_AS(ExitCode::checkpoint, !is_one_gone_,
             "{}: checkpoints are removed faster than they can be read", folder_.string());
    CHECK_AS(ExitCode::checkpoint, problems_.empty(),
             "{}: no checkpoint is whole; to start anew, give another run.folder{}",
             folder_.string(), problems_);
    return std::nullopt;
  }

 private:
  std::optional<Checkpoint> look_at(const fs::path& candidate) {
    const FolderIdentity before = identity_of(candidate);
    run_on_root(ranks_, "opening the newest checkpoint", [&] {
      refuse_other_format(candidate);
      return "";
    });
    std::string problems;
    try {
      return open_whole_checkpoint(candidate, ranks_);
    } catch (const Error& error) {
      problems = error.what();
    }
    // The root's view again. A run that is training may have removed it meanwhile: no damage, and
    // there is a newer one.
    is_one_gone_ = ranks_.broadcast(is_gone(candidate, before) ? "gone" : "there", 0) == "gone";
    if (!is_one_gone_ && reported_.insert(candidate.filename().string()).second) {
      tell(candidate.filename().string(), problems);
    }
    return std::nullopt;
  }

  void tell(const std::string& name, const std::string& problems) {
    std::istringstream lines(problems);
    for (std::string problem; std::getline(lines, problem);) {
      report_(fmt::format("damaged checkpoint {} is passed over: {}", name, problem));
      problems_ += '\n' + problem;
    }
  }

  const fs::path& folder_;
  const std::function<void(const std::string&)>& report_;
  Communicator& ranks_;
  bool is_one_gone_ = false;
  std::set<std::string> reported_;
  std::string problems_;
};

}  // namespace

std::optional<Checkpoint> newest_whole(const fs::path& folder,
                                       const std::function<void(const std::string&)>& report,
                                       Communicator& ranks) {
  return run_alike([&] { return Search(folder, report, ranks).run(); });
}

std::vector<std::int64_t> prune_checkpoints(const fs::path& folder, std::int64_t saved_step,
                                            std::int64_t keep_last, std::int64_t keep_every) {
  std::vector<std::int64_t> removed;
  std::int64_t num_whole = 0;
  std::vector<std::int64_t> newest_first = list_steps(folder);
  std::ranges::reverse(newest_first);
  for (const std::int64_t step : newest_first) {
    if (step > saved_step) continue;
    const fs::path path = folder / checkpoint_name(step);
    if (num_whole < std::max<std::int64_t>(keep_last, 1)) {
      num_whole += look_at_checkpoint(path).looks_whole();
      continue;
    }
    if (keep_every > 0 && step % keep_every == 0) continue;
    const fs::path doomed = folder / (temporary_prefix + checkpoint_name(step));
    remove_tree(doomed, ExitCode::checkpoint);
    publish(path, doomed, ExitCode::checkpoint);
    remove_tree(doomed, ExitCode::checkpoint);
    removed.push_back(step);
  }
  return removed;
}

}  // namespace dualpath
