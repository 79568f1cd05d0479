#include "launcher/slurm/submit_script.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "launcher/common/embedded_text.h"

namespace dualpath {

namespace {

constexpr std::int64_t default_lead_seconds = 600;
constexpr std::int64_t max_lead_seconds = 65535;  // Slurm's
constexpr std::size_t latest_rows = 100;          // of each kind that a lead is measured by

// The latest values of one kind.
class LatestValues {
 public:
  void add(double value) {
    values_.push_back(value);
    if (values_.size() > latest_rows) values_.pop_front();
  }
  bool empty() const { return values_.empty(); }
  double max() const { return empty() ? 0 : *std::max_element(values_.begin(), values_.end()); }

 private:
  std::deque<double> values_;
};

// A word of the shell, and of an #SBATCH line.
std::string quoted(const std::string& word) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_./=:,@%+-").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return word;
  std::string text;
  for (const char c : word) {
    if (c == '\'') text += "'\\'";
    text += c;
  }
  return fmt::format("'{}'", text);
}

// A path in a file name pattern of Slurm.
std::string in_pattern(const std::filesystem::path& path) {
  std::string text;
  for (const char c : path.string()) {
    if (c == '%') text += c;
    text += c;
  }
  return text;
}

// What #SBATCH lines and the container need to know of a job.
struct Job {
  const std::filesystem::path& working_folder;
  const std::filesystem::path& folder;
  std::int64_t lead_seconds;
  std::string output;  // in the folder, a pattern
  std::string array = {};
};

std::string sbatch_lines(const SubmitSection& submit, const Job& job) {
  std::string text;
  const auto option = [&](const std::string& word) {
    CHECK_AS(ExitCode::configuration, word.find('\n') == word.npos,
             "an option of sbatch holds a line break: {}", word);
    text += fmt::format("#SBATCH {}\n", quoted(word));
  };
  const std::string folder_name = (job.folder / "").parent_path().filename().string();
  option("--job-name=" + (submit.name.empty() ? folder_name : submit.name));
  option(fmt::format("--nodes={}", submit.nodes));
  option(fmt::format("--ntasks-per-node={}", submit.ranks_per_node));
  if (submit.gpus_per_node > 0) option(fmt::format("--gpus-per-node={}", submit.gpus_per_node));
  option(submit.cores_per_rank == 0 ? std::string("--exclusive")
                                    : fmt::format("--cpus-per-task={}", submit.cores_per_rank));
  option("--time=" + submit.time_limit);
  option(fmt::format("--signal=B:USR1@{}", job.lead_seconds));
  option("--requeue");
  option("--open-mode=append");
  option("--chdir=" + job.working_folder.string());
  option(fmt::format("--output={}/{}", in_pattern(job.folder), job.output));
  if (!job.array.empty()) option("--array=" + job.array);
  if (!submit.partition.empty()) option("--partition=" + submit.partition);
  if (!submit.account.empty()) option("--account=" + submit.account);
  for (const std::string& word : submit.options) option(word);
  return text;
}

std::string container_words(const SubmitSection& submit, const Job& job) {
  if (submit.container.empty()) return "";
  std::string text = fmt::format(
      "apptainer exec {}--bind {} --bind {}", submit.gpus_per_node > 0 ? "--nv " : "",
      quoted(job.working_folder), quoted(absolute_path(job.folder, ExitCode::configuration)));
  for (const std::string& word : submit.container_options) text += fmt::format(" {}", quoted(word));
  return fmt::format("{} {}", text, quoted(submit.container));
}

// All but what is trained.
std::string settings(const SubmitSection& submit, const Job& job,
                     const std::filesystem::path& program) {
  std::string text = fmt::format("program={}\ncontainer=({})\nmpi={}\n", quoted(program),
                                 container_words(submit, job), quoted(submit.mpi));
  text += "setup() {\n  :\n";
  for (const std::string& line : submit.setup) text += fmt::format("  {}\n", line);
  return text + "}\n\n";
}

// verb: that writes it; settings: what the script does of its own.
std::string script(const std::string& verb, const SubmitSection& submit, const Job& job,
                   const std::string& settings) {
  const std::size_t body = sbatch_template.find("# ---- ");
  CHECK(body != sbatch_template.npos, "slurm/train.sbatch has lost its dividing line");
  return fmt::format(
      "#!/usr/bin/env bash\n"
      "# Written by `dualpath {}` from slurm/train.sbatch. To submit it again: sbatch THIS\n"
      "{}\n{}{}",
      verb, sbatch_lines(submit, job), settings, sbatch_template.substr(body));
}

}  // namespace

std::optional<std::int64_t> parse_time_limit(std::string_view text) {
  std::vector<std::int64_t> numbers;
  std::string separators;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of("0123456789", i), text.size());
    if (end == i || end - i > 9) return {};
    numbers.push_back(std::stoll(std::string(text.substr(i, end - i))));
    if (end + 1 == text.size()) return {};
    if (end < text.size()) separators += text[end];
    i = end + 1;
  }
  // The unit of each number, in seconds.
  static const std::map<std::string, std::vector<std::int64_t>> forms = {
      {"", {60}},
      {":", {60, 1}},
      {"::", {3600, 60, 1}},
      {"-", {86400, 3600}},
      {"-:", {86400, 3600, 60}},
      {"-::", {86400, 3600, 60, 1}},
  };
  const auto form = forms.find(separators);
  if (numbers.empty() || form == forms.end()) return {};
  std::int64_t seconds = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) seconds += numbers[i] * form->second[i];
  if (seconds == 0) return {};
  return (seconds + 59) / 60 * 60;
}

std::optional<std::int64_t> measured_lead_seconds(const std::filesystem::path& metrics) {
  LatestValues step_ms, validation_s, save_s;
  if (!path_exists(metrics, ExitCode::checkpoint)) return {};
  std::istringstream text(
      read_file(metrics, ExitCode::checkpoint, std::numeric_limits<std::int64_t>::max()));
  for (std::string line; std::getline(text, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object()) continue;
    for (const auto& [name, values] :
         {std::pair{"step_ms", &step_ms}, {"validation_s", &validation_s}, {"save_s", &save_s}}) {
      if (row.contains(name) && row[name].is_number()) values->add(row[name].get<double>());
    }
  }
  if (step_ms.empty()) return {};
  // The signal may come when a step has just begun that a validation and a save follow; then one
  // more step is made and saved. Half as long again, and half a minute to start and end in.
  const double longest = 2 * step_ms.max() / 1e3 + validation_s.max() + 2 * save_s.max();
  return static_cast<std::int64_t>(std::ceil(1.5 * longest)) + 30;
}

std::int64_t signal_lead_seconds(const SubmitSection& submit,
                                 const std::vector<std::filesystem::path>& folders,
                                 ConfigProblems& problems) {
  const std::optional<std::int64_t> limit = parse_time_limit(submit.time_limit);
  if (!limit) {
    problems.add("submit.time_limit",
                 fmt::format("\"{}\" is no time; 90 are minutes, 24:00:00 hours, 2-00:00:00 days",
                             submit.time_limit));
    return 0;
  }
  std::int64_t lead = submit.signal_lead_seconds;
  if (lead == 0) {
    for (const std::filesystem::path& folder : folders)
      lead = std::max(lead, measured_lead_seconds(folder / "metrics.jsonl").value_or(0));
    if (lead == 0) lead = std::min(default_lead_seconds, *limit / 4);
  }
  if (lead >= *limit || lead > max_lead_seconds) {
    problems.add("submit.signal_lead_seconds",
                 fmt::format("{} s are wanted to stop and save, of a time limit of {} s; Slurm "
                             "takes {} s at most",
                             lead, *limit, max_lead_seconds));
  }
  return lead;
}

std::string submit_script(const SubmitSection& submit, const SubmittedRun& run) {
  const Job job{run.working_folder, run.folder, run.lead_seconds, "slurm-%j.out"};
  return script("submit", submit, job,
                fmt::format("run={}\nconfig=({})\n", quoted(run.folder), quoted(run.config)) +
                    settings(submit, job, run.program));
}

std::string sweep_script(const SubmitSection& submit, const SubmittedSweep& sweep) {
  std::string array = fmt::format("0-{}", sweep.runs.size() - 1);
  if (sweep.at_once > 0) array += fmt::format("%{}", sweep.at_once);
  const Job job{sweep.working_folder, sweep.folder, sweep.lead_seconds, "slurm-%A_%a.out", array};
  std::string text = fmt::format("sweep={}\nruns=(\n", quoted(sweep.folder));
  for (const std::string& run : sweep.runs) text += fmt::format("  {}\n", quoted(run));
  text +=
      ")\n"
      "run=$sweep/runs/${runs[$SLURM_ARRAY_TASK_ID]}\n"
      "config=(\"$run/planned.yaml\")\n";
  text += settings(submit, job, sweep.program);
  // For `dualpath sweep status`. Of a run that another process has, that one tells.
  text += R"(rm -f "$run/exit.txt"
output=$sweep/slurm-${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID.out
output_begin=$(stat --format=%s "$output" 2>/dev/null)  # of this start
record_exit() {
  local code=$?
  ((code)) || return
  tail -c +$((output_begin + 1)) "$output" 2>/dev/null | grep -q ' is in use by ' && return
  printf '%s\n' "$code" "see $output" >"$run/exit.txt.partial" &&
    mv "$run/exit.txt.partial" "$run/exit.txt"
}
trap record_exit EXIT

)";
  return script("sweep submit", submit, job, text);
}

}  // namespace dualpath
