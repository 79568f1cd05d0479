// dualpath train: one process or many; goes on by itself from the newest whole checkpoint.
#include "launcher/arguments.h"
#include "launcher/commands.h"
#include "launcher/job.h"
#include "launcher/parallel_layout.h"
#include "launcher/run_config.h"
#include "launcher/stop_request.h"
#include "launcher/training_run.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath train [CONFIG.yaml...] [key=value...]";

std::string help() {
  return fmt::format(
      "usage: {}\n\n"
      "Trains a model; under mpirun or srun on all ranks together. Later files and key=value "
      "words\n"
      "override earlier ones. Goes on from the newest whole checkpoint in the run folder. "
      "SIGTERM,\n"
      "SIGINT, SIGUSR1, SIGUSR2 or a file `stop` in the run folder: the step under way is finished "
      "and\n"
      "saved, exit code 75; a file `save`: saved, goes on.\n\n"
      "fields, their defaults and units:\n{}",
      usage, config_help<RunConfig>());
}

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  ConfigSource source;
  for (const std::string& file : arguments.positional) source.add_file(file);
  for (const std::string& assignment : arguments.overrides) source.add_override(assignment);

  remember_stop_signals();
  Job job;
  ConfigProblems problems;
  const RunConfig config = read_config<RunConfig>(source, problems);
  validate(config, job.world().size(), problems);
  // All ranks find the same problems; rank 0 tells them.
  if (!problems.empty() && !job.is_root()) return ExitCode::configuration;
  throw_if_any(problems, source);
  const ParallelConfig parallel = resolve(config.parallel, job.world().size(), false);
  Log log(rank_prefix(job.world().rank(), grid_shape(parallel)), job.is_root());
  return TrainingRun(config, job, log).run();
}

}  // namespace

const Command train_command = {"train", "train a model, or go on with one", help, run};

}  // namespace dualpath
