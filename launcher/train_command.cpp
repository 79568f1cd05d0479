// dualpath train: one process or many; goes on by itself from the newest whole checkpoint.
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>

#include "core/base/host_cores.h"
#include "core/base/host_memory.h"
#include "core/cuda/cuda_device.h"
#include "data/files/mapped_file_guard.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/report_error.h"
#include "launcher/common/stop_request.h"
#include "launcher/config/config_agreement.h"
#include "launcher/config/config_warnings.h"
#include "launcher/config/corpus_paths.h"
#include "launcher/config/parallel_layout.h"
#include "launcher/config/run_config.h"
#include "launcher/job/device_choice.h"
#include "launcher/job/end_job.h"
#include "launcher/job/job.h"
#include "launcher/plan/memory_check.h"
#include "launcher/plan/step_forecast.h"
#include "launcher/train/training_run.h"
#include "parallel/run_together.h"
#include "parallel/watchdog.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath train [CONFIG.yaml...] [key=value...]";

std::string help() {
  return fmt::format(
      R"(usage: {}

Trains a model. Under mpirun or srun all ranks train it together. The run goes on from the newest
whole checkpoint in its folder.

Later files and key=value words override earlier ones. A file may name files that it overrides:
`base: FILE` or `base: [FILE...]`, relative to itself.

To stop: SIGTERM, SIGINT, SIGUSR1, SIGUSR2, or a file `stop` in the run folder. The step is finished
and saved; exit code 75. A file `save` saves, and the run goes on.

fields, their defaults and units:
{})",
      usage, config_help<RunConfig>());
}

ErrorReport alarm(const OperationDescription& operation, double seconds) {
  if (!operation.failure.empty())
    return {ExitCode::peer, fmt::format("step {}: {}", operation.step, operation.failure)};
  return {ExitCode::peer,
          fmt::format("step {}: {} {} of {} bytes has not ended after {} s; another rank hangs or "
                      "is gone (fault.timeout_seconds)",
                      operation.step, operation.group, operation.kind, operation.bytes, seconds)};
}

// Before any rank allocates: whether this host has the threads and the memory that its ranks want.
// REQUIRES: the config validates.
void check_host(const RunConfig& config, const Job& job, const CudaDevices& gpus,
                ConfigProblems& problems) {
  try {
    job.num_threads(config.train.threads);
  } catch (const Error& error) {
    problems.add("train.threads", error.what());
  }
  const DeviceChoice device = config.train.device;
  if (device == DeviceChoice::cuda || (device == DeviceChoice::automatic && gpus.count > 0)) return;
  const HostRanks here = {.first = job.world().rank() - job.local_rank(),
                          .count = job.local_size()};
  const std::string problem = memory_problem(config, job.world().size(), here, total_host_bytes());
  if (!problem.empty()) problems.add("model", problem);
}

// What several ranks miss is told once. Collective.
void check_corpora(const RunConfig& config, const ConfigSource& source, Communicator& ranks) {
  if (ranks.size() == 1) {
    check_corpora_are_here(config, source);
    return;
  }
  run_together(ranks, "looking for the corpora", [&] {
    check_corpora_are_here(config, source);
    return std::string();
  });
}

ExitCode run(std::span<const std::string> words) {
  remember_stop_signals();  // main() has held them since the program's start
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  ConfigSource source;
  for (const std::string& file : arguments.positional) source.add_file(file);
  for (const std::string& assignment : arguments.overrides) source.add_override(assignment);

  Job job;
  ConfigProblems problems;
  const RunConfig config = read_config<RunConfig>(source, problems);
  validate(config, job.world().size(), problems);
  const CudaDevices gpus = find_cuda_devices();
  if (problems.empty()) check_host(config, job, gpus, problems);
  const ConfigAgreement agreement = agree_on_config(config, problems, job.world());
  if (agreement.tells) throw_if_any(problems, source);
  if (!agreement.can_run) return ExitCode::configuration;
  const ParallelConfig parallel = resolve(config.parallel, job.world().size());
  const std::string prefix = rank_prefix(job.world().rank(), grid_shape(parallel));
  set_mapping_message_prefix(prefix);
  const Watchdog watchdog(
      job.operations(), std::chrono::duration<double>(config.fault.timeout_seconds),
      [&](const OperationDescription& operation) {
        print_error(alarm(operation, config.fault.timeout_seconds), prefix + "dualpath: ");
        abort_job(static_cast<int>(ExitCode::peer));
      });
  Log log(prefix, job.is_root());
  if (job.is_root()) {
    for (const std::string& warning : config_warnings(config)) log.warning("{}", warning);
    const int threads = job.num_threads(config.train.threads);
    if (threads * job.local_size() > 4 * host_cores())
      log.warning("{} threads a rank, {} rank{} here, on {} cores: they wait for one another",
                  threads, job.local_size(), job.local_size() == 1 ? "" : "s", host_cores());
  }
  std::unique_ptr<Device> device;
  std::optional<TrainingRun> training;
  try {
    check_corpora(config, source, job.world());
    device =
        make_device(config.train.device, job.num_threads(config.train.threads), job.local_rank());
    training.emplace(config, job, *device, log, [](const TrainerOptions& options) {
      return forecast_step(options, counting_flops()).passes.bubble_fraction();
    });
    return training->run();
  } catch (...) {
    // Before the trainer goes: that would wait for communication which the others, who wait for
    // this rank, may never come to.
    if (job.world().size() == 1) throw;
    return end_job(job, prefix + "dualpath: ");
  }
}

}  // namespace

const Command train_command = {"train", "train a model, or go on with one", help, run};

}  // namespace dualpath
