// dualpath submit: a training run as a Slurm job.
#include <algorithm>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/slurm/sbatch.h"
#include "launcher/slurm/submit_script.h"
#include "launcher/train/run_folder.h"
#include "launcher/train/training_data.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* usage = "dualpath submit [CONFIG.yaml...] [--dry-run] [key=value...]";

std::string help() {
  return fmt::format(
      R"(usage: {}

Submits a training run to Slurm. The job saves before its time limit and requeues itself until the
run is done. Before it is submitted, the configuration, the corpora and the run's newest checkpoint
are checked as `dualpath train` would check them. submit.sbatch and submit.yaml, the configuration
as it is now, are written to the run folder.

fields, their defaults and units:
{})",
      usage, config_help<SubmitConfig>());
}

struct Request {
  ConfigSource source;
  SubmitConfig config;
  std::int64_t lead_seconds;
};

Request read_request(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(spell_out_dry_run(words), usage, 0, words.size());
  Request request;
  for (const std::string& file : arguments.positional) request.source.add_file(file);
  for (const std::string& assignment : arguments.overrides) request.source.add_override(assignment);
  ConfigProblems problems;
  request.config = read_config<SubmitConfig>(request.source, problems);
  const auto& [submit, run] = request.config;
  validate(run, submit.num_ranks(), problems);
  check_job(submit, problems);
  request.lead_seconds = signal_lead_seconds(submit, {run.folder()}, problems);
  throw_if_any(problems, request.source);
  return request;
}

// Refuses what `train` would refuse of the checkpoint that the run would continue from: the one of
// checkpoint.load_step, unless an earlier start has applied it. Another model, another tokenizer,
// corpora that were replaced; and checkpoints that are lost.
void check_checkpoint(RunConfig config, TrainingData& data) {
  const fs::path folder = config.folder() / "checkpoints";
  std::int64_t load_step = config.checkpoint.load_step;
  if (load_step_was_applied(config.folder(), load_step)) load_step = 0;
  std::optional<CheckpointEntry> found;
  std::vector<std::int64_t> newest_first = list_steps(folder);
  std::ranges::reverse(newest_first);
  for (const std::int64_t step : newest_first) {
    if (found || (load_step != 0 && step != load_step)) continue;
    CheckpointEntry entry = look_at_checkpoint(folder / checkpoint_name(step));
    if (entry.looks_whole()) found = std::move(entry);
  }
  CHECK_AS(ExitCode::checkpoint, found || load_step == 0, "{}: no whole checkpoint",
           (folder / checkpoint_name(load_step)).string());
  if (!found) {
    check_never_saved(config.folder());
    return;
  }
  config.model = resolve(config.model);
  RunConfig before = config;
  before.model = parse_model(found->manifest->model);
  check_resume(before, config);
  data.resume(*found->manifest, found->folder.string(), config.data,
              [](const std::string& line) { fmt::print(stderr, "data: {}\n", line); });
}

ExitCode run(std::span<const std::string> words) {
  const Request request = read_request(words);
  const auto& [submit, run] = request.config;
  const fs::path folder = run.folder();
  if (path_exists(folder / "DONE", ExitCode::checkpoint)) {
    fmt::print("{} is finished; remove {} to train it further\n", folder.string(),
               (folder / "DONE").string());
    return ExitCode::success;
  }
  RunConfig opened = run;
  TrainingData data = open_training_data(opened);
  check_checkpoint(opened, data);

  const SubmittedRun submitted = {
      .working_folder = working_folder(ExitCode::configuration),
      .folder = folder,
      .config = folder / "submit.yaml",
      .program = submitted_program(submit),
      .lead_seconds = request.lead_seconds,
  };
  const std::string script = submit_script(submit, submitted);
  if (submit.dry_run) {
    fmt::print("{}", script);
    return ExitCode::success;
  }
  make_folder(folder, ExitCode::checkpoint);
  write_file(submitted.config, print_config(run), ExitCode::checkpoint);
  write_file(folder / "submit.sbatch", script, ExitCode::checkpoint);
  const std::string job = sbatch(folder / "submit.sbatch");
  fmt::print("submitted job {}: {} ranks on {} nodes, to stop {} s before the time limit of {}\n",
             job, submit.num_ranks(), submit.nodes, request.lead_seconds, submit.time_limit);
  fmt::print("its output goes to {}\n", (folder / fmt::format("slurm-{}.out", job)).string());
  return ExitCode::success;
}

}  // namespace

const Command submit_command = {"submit", "train as a Slurm job", help, run};

}  // namespace dualpath
