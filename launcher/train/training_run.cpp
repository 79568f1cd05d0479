#include "launcher/train/training_run.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <fstream>
#include <numbers>
#include <unistd.h>

#include "core/cuda/cuda_device.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "launcher/common/stop_request.h"
#include "launcher/common/text_format.h"
#include "launcher/export/export_model.h"
#include "launcher/export/import_model.h"
#include "launcher/job/backend_choice.h"
#include "launcher/job/device_peaks.h"
#include "launcher/job/kernel_choices.h"
#include "launcher/job/version.h"
#include "launcher/train/console_line.h"
#include "launcher/train/initial_weights.h"
#include "launcher/train/loss_plot.h"
#include "launcher/train/run_folder.h"
#include "launcher/train/training_options.h"
#include "model/counts.h"
#include "model/parameter_slices.h"
#include "parallel/nccl_communicator.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

std::string gigabytes(std::size_t bytes) {
  return fmt::format("{:.3f} GB", static_cast<double>(bytes) / 1e9);
}

TrainingProgress progress_of(const Checkpoint& checkpoint) {
  const CheckpointManifest& m = checkpoint.manifest;
  return {m.step, m.consumed_samples, m.consumed_tokens};
}

bool remove_if_there(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::remove(file, ignored);
}

}  // namespace

TrainingRun::TrainingRun(const RunConfig& config, Job& job, Device& device, Log& log,
                         const BubbleForecast& bubble)
    : config_(resolve(config, job, device, log)),
      job_(job),
      log_(log),
      folder_(config_.folder()),
      data_(open_training_data(config_, job.world())),
      bytes_of_token_(data_.bytes_of_token()),
      num_threads_(job.num_threads(config_.train.threads)),
      profiler_(config_.profile, job.world().rank(), device, job.operations()),
      device_(profiler_.device()),
      stream_(device_.make_stream()),
      device_ranks_(make_device_communicator(config_.parallel.backend, job, device)) {
  run_on_root(job_.world(), "run folder", [this] {
    lock_.emplace(folder_, lock_patience());
    remove_unfinished(checkpoints());
    return std::string();
  });
  if (job_.is_root()) log_.open_file(folder_ / "log.txt");
  goes_back_ = load_step_is_due();
  const std::optional<Checkpoint> checkpoint = find_checkpoint();
  earlier_config_ = read_earlier_config();
  if (checkpoint) {
    run_together(job_.world(), "resuming", [&] {
      check_fits(*checkpoint);
      return std::string();
    });
  }
  total_steps_ = total_steps(config_, checkpoint ? progress_of(*checkpoint) : TrainingProgress{});
  TrainerOptions options = trainer_options(config_, total_steps_);
  options.tracer = profiler_.tracer();
  trainer_ = std::make_unique<Trainer>(options, device_, *stream_,
                                       device_ranks_ ? *device_ranks_ : job_.world());
  if (job_.is_root()) setting_ = step_setting(bubble);
  report_plan();
  kernels_ = agree_on_kernels(trainer_->model(), folder_ / "kernels.yaml", job_.world(), log_);
  if (checkpoint) {
    compare_environment(*checkpoint);
    resume(*checkpoint);
  } else {
    begin();
  }
  prepare_folder();
}

// The other ranks wait as long, at most half of what the watchdog lets them.
LockPatience TrainingRun::lock_patience() {
  LockPatience patience;
  if (const double timeout = config_.fault.timeout_seconds; timeout > 0)
    patience.seconds = std::min(patience.seconds, timeout / 2);
  patience.tell = [this](const std::string& line) { log_.warning("{}", line); };
  return patience;
}

StepSetting TrainingRun::step_setting(const BubbleForecast& bubble) const {
  StepSetting setting;
  setting.num_ranks = job_.world().size();
  setting.total_steps = total_steps_;
  setting.tokens_per_step = config_.train.global_batch_size * config_.model.sequence_length;
  setting.flops_per_token = training_flops(trainer_->model().config(), AttentionFlops::causal);
  setting.peak_tflops = bf16_peak_tflops(device_.name());
  if (config_.parallel.pipeline > 1)
    setting.planned_idle = bubble(trainer_options(config_, total_steps_));
  return setting;
}

// What rank 0 writes at the start of every run, resumed or not.
void TrainingRun::prepare_folder() {
  run_on_root(job_.world(), "run folder", [this] {
    const std::int64_t step = trainer_->progress().step;
    keep_earlier_history();
    const bool again =
        !goes_back_ && earlier_config_ && makes_same_steps(*earlier_config_, config_);
    records_.emplace(folder_, step, config_.logging.tensorboard,
                     again ? LaterRows::made_again : LaterRows::another_runs);
    if (const auto& kept = records_->metrics().kept_aside(); !kept.empty())
      log_.warning("rows of metrics.jsonl that are not of this run's history are kept in {}",
                   kept.string());
    // After what it replaces is safe: a start that ends before is made again alike.
    write_file(folder_ / "config.yaml", print_config(config_), ExitCode::checkpoint);
    if (data_.tokenizer) {
      make_folder(folder_ / "tokenizer", ExitCode::checkpoint);
      save_tokenizer(*data_.tokenizer, folder_ / "tokenizer", ExitCode::checkpoint);
    }
    if (goes_back_) remember_load_step(folder_, config_.checkpoint.load_step);
    if (step < total_steps_) remove_tree(folder_ / "DONE", ExitCode::checkpoint);
    return std::string();
  });
  saved_step_ = trainer_->progress().step;
  saved_at_ = Clock::now();
}

// Rank 0's: what this start would take for its own.
void TrainingRun::keep_earlier_history() {
  std::vector<std::filesystem::path> names;
  if (goes_back_) {
    names = set_aside_after(folder_, trainer_->progress().step);
  } else if (trainer_->progress().step == 0 && earlier_config_ &&
             !makes_same_steps(*earlier_config_, config_)) {
    names = set_run_aside(folder_);
  }
  for (const std::filesystem::path& name : names)
    log_.warning("of another history, set aside: {}", name.string());
}

void TrainingRun::report_plan() {
  const ResolvedModelConfig& model = trainer_->model().config();
  const ParameterStore& parameters = trainer_->model().parameters();
  const ActivationMemory& memory = trainer_->model().activation_memory();
  log_.info("{}, {} threads a rank, {} rank{}", device_.name(), num_threads_, job_.world().size(),
            job_.world().size() == 1 ? "" : "s");
  if (const CudaDevices gpus = find_cuda_devices();
      gpus.count == 0 && config_.train.device == DeviceChoice::automatic)
    log_.info("computing on the CPU: {}", gpus.problem);
  if (!device_.is_host_memory()) log_.info("{}", trainer_->describe_graphs());
  log_.info("parameters: {} | training FLOPs per token: {:.4g} | tokens per step: {} | steps: {}",
            model_parameters(model), training_flops(model, AttentionFlops::causal),
            config_.train.global_batch_size * model.sequence_length, total_steps_);
  log_.info("micro-batches of a rank and step: {} of {}",
            batch_layout(trainer_options(config_, total_steps_), 0).accumulation,
            plural(static_cast<std::size_t>(config_.train.micro_batch_size), "sequence"));
  log_.info(
      "memory a rank: weights {} | gradients {} | moments {} | kept activations {} | scratch {}",
      gigabytes(parameters.value_bytes() + parameters.operand_bytes()),
      gigabytes(parameters.flat_gradients().bytes()), gigabytes(trainer_->moment_bytes()),
      gigabytes(memory.stash_bytes), gigabytes(memory.scratch_bytes));
  for (const auto& [name, categories] :
       {std::pair{"kept activations", memory.stash}, std::pair{"scratch", memory.scratch}}) {
    std::string line;
    for (const CategoryBytes& c : categories) {
      line += fmt::format("{}{} {}", line.empty() ? "" : " | ", c.category, gigabytes(c.bytes));
    }
    if (!line.empty()) log_.info("{}: {}", name, line);
  }
}

// It is applied once: a later start with the same configuration goes on from what came of it.
bool TrainingRun::load_step_is_due() {
  const std::int64_t load_step = config_.checkpoint.load_step;
  if (load_step == 0) return false;
  const std::string applied = run_on_root(job_.world(), "checkpoint.load_step", [this] {
    const std::int64_t step = config_.checkpoint.load_step;
    return std::string(load_step_was_applied(folder_, step) ? "applied" : "");
  });
  if (applied.empty()) return true;
  log_.info(
      "checkpoint.load_step={} was applied by an earlier start; to go back to that step once "
      "more, remove its line in {}",
      load_step, load_step_file(folder_).string());
  return false;
}

std::optional<Checkpoint> TrainingRun::find_checkpoint() {
  if (goes_back_) {
    return open_whole_checkpoint(checkpoints() / checkpoint_name(config_.checkpoint.load_step),
                                 job_.world());
  }
  const std::optional<Checkpoint> newest = newest_whole(
      checkpoints(),
      [this](const std::string& line) {
        if (job_.is_root()) log_.warning("{}", line);
      },
      job_.world());
  if (newest) return newest;
  run_on_root(job_.world(), "run folder", [this] {
    check_never_saved(folder_);
    return std::string();
  });
  return {};
}

// The configuration of the start before this one; none: this is the first.
std::optional<RunConfig> TrainingRun::read_earlier_config() {
  const std::string text = run_on_root(job_.world(), "run folder", [this] {
    const std::optional<std::string> yaml = earlier_config_text(folder_);
    if (yaml) parse_earlier_config(*yaml, folder_);
    return yaml.value_or("");
  });
  if (text.empty()) return {};
  return parse_earlier_config(text, folder_);
}

// Refuses a checkpoint of another model, tokenizer or corpora; tells what of the configuration and
// the corpora has changed. Sets the data to where they were.
void TrainingRun::check_fits(const Checkpoint& checkpoint) {
  const CheckpointManifest& manifest = checkpoint.manifest;
  CHECK_AS(ExitCode::checkpoint, !is_imported(manifest),
           "{} was imported: it has weights and no moments to go on with; start a new run with "
           "train.init_from={} and another run.folder",
           checkpoint.folder.string(), folder_.string());
  RunConfig before = earlier_config_.value_or(config_);
  before.model = parse_model(manifest.model);
  for (const ConfigChange& change : check_resume(before, config_)) {
    log_.info("changed since the last start: {}: {} -> {}", change.key, change.before,
              change.after);
  }
  data_.resume(manifest, checkpoint.folder.string(), config_.data,
               [this](const std::string& line) { log_.info("data: {}", line); });
}

void TrainingRun::compare_environment(const Checkpoint& checkpoint) {
  const std::map<std::string, std::string>& before = checkpoint.manifest.environment;
  for (const auto& [key, value] : environment()) {
    const auto it = before.find(key);
    if (it != before.end() && it->second != value) {
      log_.info("other {} than at the checkpoint ({}, was {}): results may differ in the last bits",
                key, value, it->second);
    }
  }
}

void TrainingRun::resume(const Checkpoint& checkpoint) {
  load(checkpoint, trainer_->state());
  trainer_->start(*data_.training, progress_of(checkpoint));
  log_.info("resumed from {}", checkpoint.folder.string());
}

// Collective.
void TrainingRun::load(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted) {
  run_together(job_.world(), "loading", [&] {
    load_slices(checkpoint, wanted, SliceAccess(device_, *stream_));
    return std::string();
  });
}

void TrainingRun::begin() {
  if (config_.train.init_from.empty()) {
    trainer_->initialize();
  } else {
    take_weights(find_initial_weights(config_.train.init_from, log_, job_.world()));
  }
  trainer_->start(*data_.training, {});
}

void TrainingRun::take_weights(const Checkpoint& source) {
  const std::string name = source.folder.string();
  const std::vector<ConfigChange> changes = run_alike([&] {
    CHECK_AS(ExitCode::data, source.manifest.tokenizer_hash == data_.tokenizer_hash,
             "{} was trained with tokenizer {}, the corpora have {}", name,
             source.manifest.tokenizer_hash, data_.tokenizer_hash);
    return check_same_function(parse_model(source.manifest.model), config_.model,
                               config_.train.init_changes);
  });
  for (const ConfigChange& change : changes) {
    log_.info("{} is {} here, {} in {}", change.key, change.after, change.before, name);
  }
  const std::vector<TensorSlice> wanted = weights_of(trainer_->model().parameters());
  const std::vector<std::string> left_out = weights_left_out(source, wanted, job_.world());
  if (!left_out.empty() && job_.is_root())
    log_.warning("this model has no place for {} of {}", fmt::join(left_out, ", "), name);
  load(source, wanted);
  log_.info("weights from {}", name);
}

ExitCode TrainingRun::run() {
  if (trainer_->progress().step >= total_steps_) {
    const std::int64_t step = trainer_->progress().step;
    if (step > total_steps_) {
      log_.info("{} is at step {} already; the configuration asks for {}", folder_.string(), step,
                total_steps_);
    } else {
      log_.info("{} has all of its {} steps already", folder_.string(), total_steps_);
    }
    finish_what_is_missing();
    return ExitCode::success;
  }
  if (stop_is_requested_on_any_rank()) {
    log_.info("stopped before step {} of {}; the same command goes on from here",
              trainer_->progress().step + 1, total_steps_);
    return ExitCode::stopped;
  }
  make_up_validation();
  while (trainer_->progress().step < total_steps_) {
    const auto start = Clock::now();
    job_.operations().at_step(trainer_->progress().step + 1);
    profiler_.before_step(trainer_->progress().step + 1, *stream_);
    const StepResult result = trainer_->step(requests());
    const double step_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (!result.no_graphs.empty() && job_.is_root())
      log_.warning("no CUDA graphs, from here on every kernel is issued by itself: {}",
                   result.no_graphs);
    record_step(result, step_ms);
    const bool last = trainer_->progress().step == total_steps_;
    profiler_.after_step(trainer_->progress().step, last || result.requests.stop, *stream_,
                         folder_ / "profile" / fmt::format("rank-{}.json", job_.world().rank()));
    const std::int64_t every = config_.train.validation_every_steps;
    const bool scheduled = every > 0 && trainer_->progress().step % every == 0;
    if (every > 0 && (last || (scheduled && !result.requests.stop))) {
      validate();
    }
    if (last || save_is_due(result.requests)) save();
    if (result.requests.stop && !last) {
      log_.info("stopped after step {} of {}, saved; the same command goes on from here",
                trainer_->progress().step, total_steps_);
      return ExitCode::stopped;
    }
  }
  finish();
  return ExitCode::success;
}

bool TrainingRun::stop_is_requested_on_any_rank() {
  const std::vector<std::string> asked =
      job_.world().all_gather(stop_was_requested() ? "stop" : "");
  return std::ranges::count(asked, "stop") > 0;
}

// A stop leaves out the validation of its step; the next start makes it before it trains on.
void TrainingRun::make_up_validation() {
  const std::int64_t step = trainer_->progress().step, every = config_.train.validation_every_steps;
  if (step == 0 || every == 0 || step % every != 0) return;
  const std::string has_one = run_on_root(job_.world(), "metrics", [this] {
    return std::string(records_->metrics().has_validation() ? "yes" : "");
  });
  if (has_one.empty()) validate();
}

// What this rank asks for: its signals; on rank 0 also the files `stop` and `save`, and the clock.
StepRequests TrainingRun::requests() const {
  StepRequests requests{.stop = stop_was_requested(), .save = false};
  if (!job_.is_root()) return requests;
  requests.stop |= remove_if_there(folder_ / "stop");
  requests.save |= remove_if_there(folder_ / "save");
  if (config_.checkpoint.every_minutes > 0) {
    const std::chrono::duration<double, std::ratio<60>> since = Clock::now() - saved_at_;
    requests.save |= since.count() >= config_.checkpoint.every_minutes;
  }
  return requests;
}

bool TrainingRun::save_is_due(const StepRequests& requests) const {
  const std::int64_t every = config_.checkpoint.every_steps;
  const bool scheduled = every > 0 && trainer_->progress().step % every == 0;
  return requests.stop || requests.save || scheduled;
}

void TrainingRun::record_step(const StepResult& result, double step_ms) {
  if (!job_.is_root()) return;
  const StepMetrics m =
      step_metrics(setting_, config_.model, result, trainer_->progress(), step_ms);
  records_->write(m);
  since_last_line_.add(m);
  if (m.step % config_.logging.every_steps == 0 || m.step == total_steps_ || m.step == 1) {
    log_.info("{}", console_line(since_last_line_.take(), total_steps_));
  }
}

void TrainingRun::save() {
  const TrainingProgress& progress = trainer_->progress();
  if (saved_step_ == progress.step) return;
  const auto start = Clock::now();
  CheckpointManifest manifest;
  manifest.step = progress.step;
  manifest.consumed_samples = progress.consumed_samples;
  manifest.consumed_tokens = progress.consumed_tokens;
  manifest.model = print_config(config_.model);
  manifest.tokenizer_hash = data_.tokenizer_hash;
  const ParallelConfig& parallel = config_.parallel;
  manifest.layout = {{"ranks", std::to_string(job_.world().size())},
                     {"tensor", std::to_string(parallel.tensor)},
                     {"pipeline", std::to_string(parallel.pipeline)},
                     {"data", std::to_string(parallel.data)},
                     {"zero", enum_name(parallel.zero)}};
  manifest.environment = environment();
  if (job_.is_root()) manifest.data_state = data_.state_at(progress.consumed_samples);
  save_checkpoint(checkpoints(), manifest, trainer_->state_to_save(), job_.world(),
                  SliceAccess(device_, *stream_));
  saved_step_ = progress.step;
  saved_at_ = Clock::now();
  const SaveMetrics m{progress.step, progress.consumed_tokens, saved_at_ - start};
  if (records_) records_->write(m);
  log_.info("saved {} in {:.2f} s", (checkpoints() / checkpoint_name(progress.step)).string(),
            m.save_time.count());
  run_on_root(job_.world(), "checkpoints", [this] {
    prune();
    return std::string();
  });
}

// Rank 0's.
void TrainingRun::prune() {
  if (config_.checkpoint.keep_last == 0) return;
  prune_checkpoints(checkpoints(), saved_step_, config_.checkpoint.keep_last,
                    config_.checkpoint.keep_every);
}

void TrainingRun::validate() {
  const auto start = Clock::now();
  double loss = 0, bits_per_byte = 0, weights = 0;
  bool bytes_known = true;
  ValidationMetrics m;
  for (const ValidationCorpus& corpus : data_.validation) {
    const std::int64_t samples = std::min(config_.train.validation_sequences, corpus.num_samples);
    const ValidationResult result = trainer_->validate(*corpus.samples, samples, bytes_of_token_);
    weights += corpus.weight;
    loss += corpus.weight * result.loss;
    m.validation_tokens += result.targets;
    bytes_known &= result.bytes > 0;
    if (bytes_known) {
      bits_per_byte += corpus.weight * result.loss * static_cast<double>(result.targets) /
                       (std::numbers::ln2 * static_cast<double>(result.bytes));
    }
  }
  if (!job_.is_root() || weights == 0) return;
  m.step = trainer_->progress().step;
  m.consumed_tokens = trainer_->progress().consumed_tokens;
  m.validation_loss = loss / weights;
  m.perplexity = std::exp(m.validation_loss);
  if (bytes_known) m.bits_per_byte = bits_per_byte / weights;
  m.validation_time = Clock::now() - start;
  records_->write(m);
  log_.info("{}", console_line(m));
}

void TrainingRun::finish() {
  export_for_transformers();
  write_done();
  if (!job_.is_root()) return;
  log_.info("finished {} steps in {}", total_steps_, folder_.string());
  draw_losses();
}

// Where a start ended after the last step was saved, and before all else was done.
void TrainingRun::finish_what_is_missing() {
  if (job_.is_root() && !path_exists(folder_ / "DONE", ExitCode::checkpoint)) prune();
  export_for_transformers();
  write_done();
  if (job_.is_root()) draw_losses();  // what is there may be of fewer steps
}

// train.save_hf. What an earlier start has exported of this step stays.
void TrainingRun::export_for_transformers() {
  if (!config_.train.save_hf) return;
  run_on_root(job_.world(), "train.save_hf", [this] {
    const std::string name = checkpoint_name(trainer_->progress().step);
    const std::filesystem::path target = folder_ / "hf" / name;
    if (path_exists(target, ExitCode::checkpoint)) return std::string();
    export_model(open_source(checkpoints() / name), target, {});
    log_.info("exported {}", target.string());
    return std::string();
  });
}

// Rank 0's. The run is done already: a picture that cannot be drawn is no failure of it.
void TrainingRun::draw_losses() {
  const std::filesystem::path picture = folder_ / "loss.svg";
  try {
    const RunLosses losses = read_losses(folder_ / "metrics.jsonl");
    if (losses.training.steps.empty() && losses.validation.steps.empty()) return;
    fmt::print("{}", draw_losses_as_text(losses, 78, 16));
    write_file(picture, draw_losses_as_svg(losses, 800, 450), ExitCode::checkpoint);
  } catch (const std::exception& error) {
    remove_if_there(picture.string() + ".partial");
    log_.warning("the loss curve is not drawn: {}", error.what());
  }
}

void TrainingRun::write_done() {
  if (!job_.is_root()) return;
  write_file(folder_ / "DONE", fmt::format("{} steps\n", trainer_->progress().step),
             ExitCode::checkpoint);
}

// What the last bits of a result may depend on besides seed and layout.
std::map<std::string, std::string> TrainingRun::environment() const {
  std::map<std::string, std::string> environment = {{"threads", std::to_string(num_threads_)},
                                                    {"ranks", std::to_string(job_.world().size())},
                                                    {"device", device_.name()},
                                                    {"program", version_line()}};
  if (config_.parallel.backend == CommunicationBackend::nccl)
    environment["settings of NCCL"] = nccl_settings();
  if (!kernels_.empty()) environment["kernels"] = kernels_;
  return environment;
}

}  // namespace dualpath
