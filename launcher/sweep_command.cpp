// dualpath sweep: many training runs from one file.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <unistd.h>

#include "core/base/host_cores.h"
#include "core/config/nearest.h"
#include "core/cuda/cuda_device.h"
#include "data/checkpoints/run_lock.h"
#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/stop_request.h"
#include "launcher/slurm/sbatch.h"
#include "launcher/slurm/submit_script.h"
#include "launcher/sweep/run_forecast.h"
#include "launcher/sweep/sweep_folder.h"
#include "launcher/sweep/sweep_gpus.h"
#include "launcher/sweep/sweep_grid.h"
#include "launcher/sweep/sweep_report.h"
#include "launcher/sweep/sweep_runner.h"
#include "launcher/sweep/sweep_tables.h"
#include "launcher/train/training_data.h"
#include "parallel/mpi_communicator.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* usage =
    "dualpath sweep plan|run|submit|status|report [SWEEP.yaml... | FOLDER] [key=value...]";

std::string help() {
  return fmt::format(
      R"(usage: {}

Trains one model for each combination of the values that the section `sweep` lists. The other
sections are those of `dualpath train` and hold for all runs.

  plan    tells what the runs take, without running them
  run     trains them here, several at once. SIGTERM, SIGINT and SIGUSR1 save and stop all runs,
          exit code 75; the same command goes on. What has finished is not done again. A file with
          more values of a list adds its runs to those that are there
  submit  trains them as a Slurm job array, one task a run; --dry-run prints the script. Submitted
          again, only what is neither finished nor running
  status  tells what has become of the runs of SWEEP.yaml or of the sweep's folder
  report  writes the results so far to report.html and report.csv in that folder

fields, their defaults and units:
{})",
      usage, config_help<SweepConfig>());
}

struct Request {
  ConfigSource source;
  SweepConfig config;
};

// sweep.base first, then the files, then the words.
Request read_any_request(const Arguments& arguments) {
  Request request;
  const auto add = [&] {
    for (const std::string& file : arguments.positional) request.source.add_file(file);
    for (const std::string& word : arguments.overrides) request.source.add_override(word);
  };
  add();
  ConfigProblems problems;
  request.config = read_config<SweepConfig>(request.source, problems);
  throw_if_any(problems, request.source);
  if (request.config.sweep.base.empty()) return request;
  const std::filesystem::path folder = request.source.folder_of("sweep.base");
  const std::string named_at = request.source.origin_of("sweep.base") + ": sweep.base: ";
  request.source = {};
  for (const std::string& file : request.config.sweep.base)
    request.source.add_base(folder, file, named_at);
  add();
  request.config = read_config<SweepConfig>(request.source, problems);
  throw_if_any(problems, request.source);
  return request;
}

// The request of every action but submit.
Request read_request(const Arguments& arguments) {
  Request request = read_any_request(arguments);
  ConfigProblems problems;
  if (request.config.submit.dry_run) {
    problems.add("submit.dry_run",
                 "only `sweep submit` has a dry run; `sweep plan` tells what the runs take");
  }
  throw_if_any(problems, request.source);
  return request;
}

// must_be_here: the corpora, else the vocabulary must be given where they are not.
SweepGrid make_grid(Request& request, bool must_be_here) {
  RunConfig& run = request.config.run;
  ConfigProblems problems;
  const bool has_corpora = !run.data.mock && !run.data.corpora.empty();
  if (has_corpora && (must_be_here || corpora_are_here(run))) {
    open_training_data(run);
  } else if (has_corpora && run.model.vocab_size == 0) {
    problems.add("model.vocab_size", fmt::format("{} is not there to take it from; give one",
                                                 run.data.corpora.front().path));
  }
  SweepGrid grid = expand_grid(request.config, problems);
  throw_if_any(problems, request.source);
  return grid;
}

void check_has_runs(const SweepPlan& plan) {
  CHECK_AS(ExitCode::configuration, !plan.runs.empty(), "no run is left: {}",
           infeasible_text(plan));
}

Machine machine_of(const SweepSection& sweep) {
  return sweep.machine.empty() ? counting_flops() : load_machine(sweep.machine);
}

// Refuses runs that want more memory than the machine has.
std::vector<RunForecast> forecasts_of(const SweepGrid& grid, const SweepSection& sweep,
                                      const Machine& machine) {
  std::vector<RunForecast> forecasts;
  for (std::size_t i = 0; i < grid.configs.size(); ++i) {
    const RunForecast forecast = forecast_run(grid.configs[i], sweep.ranks, machine);
    const double gigabytes =
        static_cast<double>(forecast.rank_bytes) / 1e9 + machine.process_mb / 1e3;
    CHECK_AS(ExitCode::configuration, machine.memory_gb == 0 || gigabytes <= machine.memory_gb,
             "run {}: a rank takes {:.3g} GB, of {:.3g} on {}", grid.plan.runs[i].name, gigabytes,
             machine.memory_gb, machine.name);
    forecasts.push_back(forecast);
  }
  return forecasts;
}

// Those of this machine that the runs compute on.
std::vector<std::string> gpus_of(const SweepConfig& config) {
  if (config.run.train.device == DeviceChoice::cpu) return {};
  return gpu_names(find_cuda_devices().count, std::getenv("CUDA_VISIBLE_DEVICES"));
}

// As many runs at once as GPUs allow, or cores and memory where there are none, unless another
// number was asked for.
std::int64_t runs_side_by_side(const SweepConfig& config, std::span<const RunForecast> forecasts,
                               const Machine& machine) {
  std::int64_t count = config.sweep.parallel_runs;
  if (const auto gpus = gpus_of(config); count == 0 && !gpus.empty()) {
    count = std::ssize(gpus) / config.sweep.ranks;
  } else if (count == 0) {
    const std::int64_t threads = std::max<std::int64_t>(1, config.run.train.threads);
    double most = 1;  // bytes of a rank
    for (const RunForecast& f : forecasts) {
      most = std::max(most, static_cast<double>(f.rank_bytes) + 1e6 * machine.process_mb);
    }
    const auto memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(::sysconf(_SC_PAGESIZE));
    count =
        std::min<std::int64_t>(own_cores() / threads, static_cast<std::int64_t>(memory / most)) /
        config.sweep.ranks;
  }
  return std::clamp<std::int64_t>(count, 1, std::max<std::int64_t>(1, std::ssize(forecasts)));
}

std::int64_t threads_of_rank(const SweepConfig& config, std::int64_t side_by_side) {
  if (config.run.train.threads > 0) return config.run.train.threads;
  return std::max<std::int64_t>(1, own_cores() / (side_by_side * config.sweep.ranks));
}

// Forecasts of the runs that `sweep run` still has to do, once the folder holds the plan.
std::vector<RunForecast> forecasts_to_do(const SweepConfig& config, const SweepPlan& plan,
                                         std::span<const RunForecast> forecasts) {
  std::vector<RunForecast> to_do;
  for (std::size_t i = 0; i < plan.runs.size(); ++i) {
    const RunState state = run_status(run_folder(config.folder(), plan.runs[i].name)).state;
    const bool failed = state == RunState::failed && !config.sweep.retry;
    if (state != RunState::finished && !failed) to_do.push_back(forecasts[i]);
  }
  return to_do;
}

ExitCode plan(const Arguments& arguments) {
  Request request = read_request(arguments);
  const SweepGrid grid = make_grid(request, false);
  const Machine machine = machine_of(request.config.sweep);
  const auto forecasts = forecasts_of(grid, request.config.sweep, machine);
  fmt::print("{}",
             plan_text(grid.plan, forecasts, runs_side_by_side(request.config, forecasts, machine),
                       !request.config.sweep.machine.empty()));
  return ExitCode::success;
}

ExitCode run_here(const Arguments& arguments) {
  CHECK_AS(ExitCode::configuration, !started_by_mpi_launcher(),
           "start `sweep run` without mpirun: it starts the ranks of each run (sweep.ranks)");
  remember_stop_signals();
  Request request = read_request(arguments);
  const SweepConfig& config = request.config;
  const SweepGrid grid = make_grid(request, true);
  check_has_runs(grid.plan);
  const Machine machine = machine_of(config.sweep);
  const auto forecasts = forecasts_of(grid, config.sweep, machine);
  const RunLock lock(config.folder());
  adopt_grid(config.folder(), grid.plan, grid.configs);
  const std::int64_t side_by_side =
      runs_side_by_side(config, forecasts_to_do(config, grid.plan, forecasts), machine);
  Log log;
  log.open_file(config.folder() / "log.txt");
  return run_sweep(grid.plan,
                   {.folder = config.folder(),
                    .program = fs::read_symlink("/proc/self/exe"),
                    .ranks = config.sweep.ranks,
                    .side_by_side = side_by_side,
                    .threads = threads_of_rank(config, side_by_side),
                    .gpus = gpus_of(config),
                    .retry = config.sweep.retry},
                   log);
}

// The runs that another start may take on.
std::vector<std::string> runs_to_submit(const SweepConfig& config, const SweepPlan& plan) {
  std::vector<std::string> names;
  for (const SweepRun& run : plan.runs) {
    const RunStatus status = run_status(run_folder(config.folder(), run.name));
    const bool failed = status.state == RunState::failed && !config.sweep.retry;
    if (failed) fmt::print(stderr, "{} has failed; sweep.retry=true submits it again\n", run.name);
    const bool goes_on =
        status.state == RunState::finished || status.state == RunState::running || failed;
    if (!goes_on) names.push_back(run.name);
  }
  return names;
}

std::int64_t lead_of(const Request& request, std::span<const std::string> runs) {
  std::vector<fs::path> folders;
  for (const std::string& run : runs) folders.push_back(run_folder(request.config.folder(), run));
  ConfigProblems problems;
  check_job(request.config.submit, problems);
  const std::int64_t lead = signal_lead_seconds(request.config.submit, folders, problems);
  throw_if_any(problems, request.source);
  return lead;
}

// The job's; what sweep.ranks gives must be the same.
void take_ranks(Request& request) {
  std::int64_t& ranks = request.config.sweep.ranks;
  const SubmitSection& submit = request.config.submit;
  ConfigProblems problems;
  if (ranks != 1 && ranks != submit.num_ranks()) {
    problems.add("sweep.ranks",
                 fmt::format("{}, but submit.nodes {} * ranks_per_node {} makes {} ranks a run",
                             ranks, submit.nodes, submit.ranks_per_node, submit.num_ranks()));
  }
  throw_if_any(problems, request.source);
  ranks = submit.num_ranks();
}

// Standard output is the script's in a dry run: what is to be told besides goes to standard error.
ExitCode submit(const Arguments& arguments) {
  Request request = read_any_request(arguments);
  SweepConfig& config = request.config;
  take_ranks(request);
  const SweepGrid grid = make_grid(request, true);
  check_has_runs(grid.plan);
  fmt::print(stderr, "{}", infeasible_text(grid.plan));
  forecasts_of(grid, config.sweep, machine_of(config.sweep));
  const std::vector<std::string> runs = runs_to_submit(config, grid.plan);
  if (runs.empty()) {
    fmt::print(stderr, "no run is left to submit\n");
    return ExitCode::success;
  }
  const SubmittedSweep submitted = {
      .working_folder = working_folder(ExitCode::configuration),
      .folder = config.folder(),
      .runs = runs,
      .at_once = config.sweep.parallel_runs,
      .program = submitted_program(config.submit),
      .lead_seconds = lead_of(request, runs),
  };
  const std::string script = sweep_script(config.submit, submitted);
  if (config.submit.dry_run) {
    fmt::print("{}", script);
    return ExitCode::success;
  }
  const RunLock lock(config.folder());
  adopt_grid(config.folder(), grid.plan, grid.configs);
  const fs::path file = config.folder() / "submit.sbatch";
  write_file(file, script, ExitCode::checkpoint);
  const std::string job = sbatch(file);
  fmt::print("submitted job array {}: {} of {} runs, {} ranks on {} nodes each\n", job,
             submitted.runs.size(), grid.plan.runs.size(), config.submit.num_ranks(),
             config.submit.nodes);
  return ExitCode::success;
}

// The sweep's folder: given itself, or by the configuration that makes the sweep.
fs::path folder_of(const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (given.size() == 1 && is_folder(given.front(), ExitCode::checkpoint)) {
    CHECK_AS(ExitCode::configuration, arguments.overrides.empty(),
             "{} is a sweep's folder, which {} cannot change; give SWEEP.yaml with it",
             given.front(), arguments.overrides.front());
    return given.front();
  }
  return read_request(arguments).config.folder();
}

ExitCode status(const Arguments& arguments) {
  const fs::path folder = folder_of(arguments);
  fmt::print("{}", status_text(folder, read_sweep_plan(folder)));
  return ExitCode::success;
}

ExitCode report(const Arguments& arguments) {
  const fs::path folder = folder_of(arguments);
  write_sweep_report(folder);
  fmt::print("{}\n{}\n", (folder / "report.html").string(), (folder / "report.csv").string());
  return ExitCode::success;
}

struct Part {
  const char* name;
  ExitCode (*run)(const Arguments& arguments);
};
constexpr std::array parts = {Part{"plan", plan}, Part{"run", run_here}, Part{"status", status},
                              Part{"submit", submit}, Part{"report", report}};

ExitCode run(std::span<const std::string> words) {
  std::vector<std::string> names;
  for (const Part& part : parts) {
    if (!words.empty() && words.front() == part.name) {
      std::vector<std::string> rest(words.begin() + 1, words.end());
      if (part.run == submit) rest = spell_out_dry_run(rest);
      return part.run(split_arguments(rest, usage, 0, words.size()));
    }
    names.emplace_back(part.name);
  }
  const std::string near = words.empty() ? "" : nearest(words.front(), names);
  DUALPATH_FAIL(ExitCode::configuration, "{}{}\nusage: {}",
                words.empty() ? "a part is missing" : "unknown part " + words.front(),
                near.empty() ? "" : fmt::format(", did you mean {}?", near), usage);
}

}  // namespace

const Command sweep_command = {"sweep", "many training runs from one file", help, run};

}  // namespace dualpath
