// A training run: the loop around Trainer::step with its run folder — resuming, saving, validating,
// logging, stopping.
//
//   runs/NAME/config.yaml        the resolved configuration
//             metrics.jsonl      one object a step
//             events.out.tfevents.*
//             log.txt
//             kernels.yaml       on GPUs: the algorithms chosen for this run (kernel_choices.h)
//             tokenizer/         the corpora's, so that the run can be used without them
//             checkpoints/
//             loss.svg           the loss curve, drawn at the end
//             profile/           where `profile` names steps, a trace of these for each rank
//             load_step.applied  the checkpoint.load_step that was applied last
//             DONE               the run reached its last step
//             *.before-1         an earlier run's file of that name, set aside
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "core/base/log.h"
#include "data/checkpoints/checkpoint_folder.h"
#include "data/checkpoints/run_lock.h"
#include "launcher/config/resolve_run.h"
#include "launcher/job/job.h"
#include "launcher/train/console_line.h"
#include "launcher/train/profiler.h"
#include "launcher/train/run_records.h"
#include "launcher/train/trainer.h"
#include "launcher/train/training_data.h"

namespace dualpath {

// The pipeline bubble that a plan predicts for these options: the share of the passes' time in
// which a stage is idle.
using BubbleForecast = std::function<double(const TrainerOptions&)>;

class TrainingRun {
 public:
  // bubble: called once, on rank 0, if there are several stages. REQUIRES: the config validates on
  // the job's ranks. Collective, as all members are.
  TrainingRun(const RunConfig& config, Job& job, Device& device, Log& log,
              const BubbleForecast& bubble);

  // Trains to the end, or until a rank is asked to stop; returns success or stopped.
  ExitCode run();

 private:
  using Clock = std::chrono::steady_clock;

  std::filesystem::path checkpoints() const { return folder_ / "checkpoints"; }
  LockPatience lock_patience();
  StepSetting step_setting(const BubbleForecast& bubble) const;
  void prepare_folder();
  void keep_earlier_history();
  void report_plan();
  bool load_step_is_due();
  std::optional<Checkpoint> find_checkpoint();
  std::optional<RunConfig> read_earlier_config();
  void check_fits(const Checkpoint& checkpoint);
  void compare_environment(const Checkpoint& checkpoint);
  void resume(const Checkpoint& checkpoint);
  void load(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted);
  void begin();
  void take_weights(const Checkpoint& source);
  bool stop_is_requested_on_any_rank();
  void make_up_validation();
  StepRequests requests() const;
  void record_step(const StepResult& result, double step_ms);
  std::map<std::string, std::string> environment() const;
  bool save_is_due(const StepRequests& requests) const;
  void save();
  void validate();
  void prune();
  void finish();
  void finish_what_is_missing();
  void export_for_transformers();
  void draw_losses();
  void write_done();

  ResolvedRunConfig config_;
  Job& job_;
  Log& log_;
  std::filesystem::path folder_;
  std::optional<RunLock> lock_;  // rank 0's
  TrainingData data_;
  std::vector<std::uint32_t> bytes_of_token_;
  int num_threads_;
  Profiler profiler_;
  Device& device_;  // the profiler's
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Communicator> device_ranks_;  // the job's, for memory that the host cannot read
  bool goes_back_;  // to checkpoint.load_step, which was not applied before
  std::optional<RunConfig> earlier_config_;
  std::int64_t total_steps_ = 0;
  std::unique_ptr<Trainer> trainer_;
  std::string kernels_;  // checksum of the algorithms chosen; empty: none had to be
  StepSetting setting_;  // rank 0's, as the records are
  std::optional<RunRecords> records_;
  StepAverage since_last_line_;
  std::int64_t saved_step_ = 0;
  Clock::time_point saved_at_;
};

}  // namespace dualpath
