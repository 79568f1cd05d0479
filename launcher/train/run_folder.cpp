#include "launcher/train/run_folder.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <system_error>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "launcher/train/metrics_writer.h"
#include "launcher/train/set_aside.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// Whether a run's log has the line of a saved checkpoint.
bool tells_of_a_save(const fs::path& log) {
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t saved = line.find(" saved ");
    if (saved != line.npos && line.find("/checkpoints/", saved) != line.npos) return true;
  }
  return false;
}

}  // namespace

void check_never_saved(const fs::path& folder) {
  std::string sign;
  if (is_there(folder / "DONE")) {
    sign = "it has a file DONE";
  } else if (const std::int64_t step = last_saved_step(folder / "metrics.jsonl"); step > 0) {
    sign = fmt::format("its metrics.jsonl tells that step {} was saved", step);
  } else if (tells_of_a_save(folder / "log.txt")) {
    sign = "its log.txt tells of a save";
  }
  CHECK_AS(ExitCode::checkpoint, sign.empty(),
           "{} has been trained, for {}, but there is no checkpoint in {}: moved away, or not "
           "mounted? Bring them back; or give another run.folder; or remove {} to start anew",
           folder.string(), sign, (folder / "checkpoints").string(), folder.string());
}

std::optional<std::string> earlier_config_text(const fs::path& folder) {
  const fs::path file = folder / "config.yaml";
  if (!is_there(file)) return {};
  return read_file(file, ExitCode::checkpoint);
}

RunConfig parse_earlier_config(const std::string& yaml, const fs::path& folder) {
  const std::string file = folder / "config.yaml";
  try {
    ConfigSource source;
    source.add_text(yaml, file);
    ConfigProblems problems;
    const auto config = read_config<RunConfig>(source, problems);
    throw_if_any(problems, source);
    return config;
  } catch (const Error& error) {
    DUALPATH_FAIL(ExitCode::checkpoint,
                  "{}\n{} is what this run was last started with, and what this start is compared "
                  "with; repair it, or move it away to go on without",
                  error.what(), file);
  }
}

bool makes_same_steps(const RunConfig& one, const RunConfig& other) {
  for (const ConfigChange& change : compare_configs(one, other)) {
    const auto begins = [&](std::string_view section) { return change.key.starts_with(section); };
    if (!begins("run.") && !begins("checkpoint.") && !begins("logging.") && !begins("fault.") &&
        !begins("profile.") && change.key != "train.save_hf")
      return false;
  }
  return true;
}

std::vector<fs::path> set_run_aside(const fs::path& folder) {
  std::vector<fs::path> files, names;
  for (const std::string& name : names_in(folder, ExitCode::checkpoint)) {
    const bool is_events =
        name.starts_with("events.out.tfevents.") && name.find(".before-") == name.npos;
    if (is_events || name == "config.yaml") files.push_back(folder / name);
  }
  for (const fs::path& file : files) names.push_back(set_aside(file));
  return names;
}

fs::path load_step_file(const fs::path& folder) {
  return folder / "load_step.applied";
}

bool load_step_was_applied(const fs::path& folder, std::int64_t step) {
  const fs::path file = load_step_file(folder);
  if (!is_there(file)) return false;
  std::istringstream lines(read_file(file, ExitCode::checkpoint));
  bool was_applied = false;
  for (std::string line; std::getline(lines, line);) {
    std::int64_t applied = 0;
    const auto result = std::from_chars(line.data(), line.data() + line.size(), applied);
    CHECK_AS(ExitCode::checkpoint, result.ec == std::errc() && applied > 0,
             "{}: a line does not begin with a step; remove the file to have checkpoint.load_step "
             "applied",
             file.string());
    was_applied |= applied == step;
  }
  return was_applied;
}

void remember_load_step(const fs::path& folder, std::int64_t step) {
  const fs::path file = load_step_file(folder);
  const std::string earlier = is_there(file) ? read_file(file, ExitCode::checkpoint) : "";
  write_file(file,
             earlier + fmt::format("{}: checkpoint.load_step has gone back to this step; without "
                                   "this line it does so again\n",
                                   step),
             ExitCode::checkpoint);
}

std::vector<fs::path> set_aside_after(const fs::path& folder, std::int64_t step) {
  std::vector<fs::path> later, names;
  for (const CheckpointEntry& entry : list_checkpoints(folder / "checkpoints")) {
    if (entry.step > step) later.push_back(entry.folder);
  }
  // One number for all of them, so that they can be told from those of other times.
  const auto name_of = [](const fs::path& checkpoint, int number) {
    const std::string name = "abandoned-" + checkpoint.filename().string();
    return checkpoint.parent_path() / (number == 1 ? name : fmt::format("{}-{}", name, number));
  };
  int number = 1;
  while (
      std::ranges::any_of(later, [&](const fs::path& c) { return is_there(name_of(c, number)); }))
    ++number;
  for (const fs::path& checkpoint : later) {
    names.push_back(name_of(checkpoint, number));
    give_name(checkpoint, names.back());
  }
  return names;
}

}  // namespace dualpath
