#include "launcher/sweep/sweep_folder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/checkpoints/run_lock.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int format_version = 1;

class JsonWriter {
 public:
  template <class T>
  void field(const char* name, const T& value) {
    if constexpr (std::is_enum_v<T>) {
      json_[name] = enum_name(value);
    } else {
      json_[name] = value;
    }
  }
  Json take() { return std::move(json_); }

 private:
  Json json_ = Json::object();
};

// Throws nlohmann's errors, and std::out_of_range for an unknown name.
class JsonReader {
 public:
  explicit JsonReader(const Json& json) : json_(json) {}
  template <class T>
  void field(const char* name, T& value) {
    const Json& given = json_.at(name);
    if constexpr (std::is_enum_v<T>) {
      value = enum_named<T>(given.get<std::string>());
    } else {
      given.get_to(value);
    }
  }

 private:
  template <class Enum>
  static Enum enum_named(const std::string& name) {
    for (const auto& [value, text] : EnumNames<Enum>::values) {
      if (name == text) return value;
    }
    throw std::out_of_range(name + " is not known");
  }

  const Json& json_;
};

fs::path plan_file(const fs::path& folder) {
  return folder / "sweep.json";
}

fs::path exit_file(const fs::path& run_folder) {
  return run_folder / "exit.txt";
}

SweepPlan parse_plan(const Json& json) {
  const int version = json.at("format").get<int>();
  if (version != format_version)
    throw std::out_of_range(fmt::format("format {} is not known", version));
  SweepPlan plan;
  for (const Json& row : json.at("runs")) {
    JsonReader reader(row);
    visit_run(reader, plan.runs.emplace_back());
  }
  for (const Json& row : json.at("infeasible")) {
    JsonReader reader(row);
    visit_infeasible(reader, plan.infeasible.emplace_back());
  }
  return plan;
}

// What no loss depends on.
bool may_change(const std::string& key) {
  constexpr std::array prefixes = {"run.", "logging.", "checkpoint.", "fault."};
  return key == "train.threads" || key == "data.prefetch_batches" ||
         std::ranges::any_of(prefixes, [&](const char* p) { return key.starts_with(p); });
}

// "" where the run may go on under the new configuration.
std::string difference(const RunConfig& before, const RunConfig& after) {
  std::string text;
  for (const ConfigChange& change : compare_configs(before, after)) {
    if (may_change(change.key)) continue;
    text += fmt::format("\n  {}: {} there, {} now", change.key, change.before, change.after);
  }
  return text;
}

fs::path planned_file(const fs::path& run_folder) {
  return run_folder / "planned.yaml";
}

// Throws where what the folder holds does not belong to the new plan. A run's folder may have been
// removed, to make the run again.
void check_extends(const fs::path& folder, const SweepPlan& plan,
                   const std::vector<RunConfig>& configs) {
  const SweepPlan before = is_sweep(folder) ? read_sweep_plan(folder) : SweepPlan{};
  for (const SweepRun& old : before.runs) {
    CHECK_AS(ExitCode::configuration,
             std::ranges::find(plan.runs, old.name, &SweepRun::name) != plan.runs.end(),
             "{} is another sweep's: its run {} is none of this sweep; give another sweep.folder, "
             "or what makes that run too",
             folder.string(), old.name);
  }
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const fs::path run = run_folder(folder, plan.runs[i].name);
    if (!path_exists(planned_file(run), ExitCode::checkpoint)) continue;
    const std::string differs = difference(read_planned(run), configs[i]);
    CHECK_AS(ExitCode::configuration, differs.empty(),
             "{} is another sweep's: its run {} has{}\ngive another sweep.folder, or the same "
             "values",
             folder.string(), plan.runs[i].name, differs);
  }
}

}  // namespace

bool is_sweep(const fs::path& folder) {
  return path_exists(plan_file(folder), ExitCode::checkpoint);
}

SweepPlan read_sweep_plan(const fs::path& folder) {
  const std::string file = plan_file(folder);
  CHECK_AS(ExitCode::checkpoint, is_sweep(folder),
           "{}: no sweep is here; `dualpath sweep run SWEEP.yaml` makes one", folder.string());
  const std::string text = read_file(file, ExitCode::checkpoint);
  try {
    return parse_plan(Json::parse(text));
  } catch (const std::exception& error) {
    DUALPATH_FAIL(ExitCode::checkpoint,
                  "{} is damaged; remove it, and `dualpath sweep run SWEEP.yaml` writes it again "
                  "({})",
                  file, error.what());
  }
}

void write_sweep_plan(const fs::path& folder, const SweepPlan& plan) {
  Json json = {{"format", format_version}, {"runs", Json::array()}, {"infeasible", Json::array()}};
  for (const SweepRun& run : plan.runs) {
    JsonWriter writer;
    visit_run(writer, run);
    json["runs"].push_back(writer.take());
  }
  for (const InfeasibleCell& cell : plan.infeasible) {
    JsonWriter writer;
    visit_infeasible(writer, cell);
    json["infeasible"].push_back(writer.take());
  }
  make_folder(folder, ExitCode::checkpoint);
  write_file(plan_file(folder), json.dump(1) + "\n", ExitCode::checkpoint);
}

RunStatus run_status(const fs::path& folder) {
  const RunStatus interrupted = {RunState::stopped, "interrupted"};
  const bool is_live = is_run_locked(folder);  // first: a run that ends meanwhile leaves its DONE
  if (path_exists(folder / "DONE", ExitCode::checkpoint)) return {RunState::finished};
  if (is_live) return {RunState::running};
  if (const fs::path file = exit_file(folder); path_exists(file, ExitCode::checkpoint)) {
    const std::string text = read_file(file, ExitCode::checkpoint);
    const std::size_t end = std::min(text.find('\n'), text.size());
    int code = 0;
    std::from_chars(text.data(), text.data() + end, code);
    if (code <= 0) return interrupted;  // cut short with the machine
    std::string reason = text.substr(std::min(end + 1, text.size()));
    while (reason.ends_with('\n')) reason.pop_back();
    const bool stopped = code == static_cast<int>(ExitCode::stopped);
    return {stopped ? RunState::stopped : RunState::failed, std::move(reason), code};
  }
  // A start took the lock and was cut short with whatever watched over it.
  if (path_exists(folder / ".lock", ExitCode::checkpoint)) return interrupted;
  return {};
}

void record_exit(const fs::path& folder, int code, const std::string& reason) {
  write_file(exit_file(folder), fmt::format("{}\n{}\n", code, reason), ExitCode::checkpoint);
}

void forget_exit(const fs::path& folder) {
  remove_tree(exit_file(folder), ExitCode::checkpoint);
}

RunConfig read_planned(const fs::path& folder) {
  ConfigSource source;
  source.add_file(planned_file(folder));
  ConfigProblems problems;
  auto config = read_config<RunConfig>(source, problems);
  throw_if_any(problems, source);
  return config;
}

void adopt_grid(const fs::path& folder, const SweepPlan& plan,
                const std::vector<RunConfig>& configs) {
  check_extends(folder, plan, configs);
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const fs::path run = run_folder(folder, plan.runs[i].name);
    const fs::path file = planned_file(run);
    const std::string text = print_config(configs[i]);
    if (path_exists(file, ExitCode::checkpoint) && read_file(file, ExitCode::checkpoint) == text)
      continue;
    make_folder(run, ExitCode::checkpoint);
    write_file(file, text, ExitCode::checkpoint);
  }
  write_sweep_plan(folder, plan);  // last: now each run that it names has its configuration
}

}  // namespace dualpath
