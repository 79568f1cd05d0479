#include "launcher/sweep/sweep_runner.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <map>
#include <set>
#include <thread>

#include "data/checkpoints/run_lock.h"
#include "data/files/file_io.h"
#include "launcher/common/embedded_text.h"
#include "launcher/common/progress.h"
#include "launcher/common/stop_request.h"
#include "launcher/common/text_format.h"
#include "launcher/sweep/child_process.h"
#include "launcher/sweep/live_lines.h"
#include "launcher/sweep/run_progress.h"
#include "launcher/sweep/sweep_folder.h"
#include "launcher/sweep/sweep_gpus.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto poll_interval = std::chrono::milliseconds(50);
constexpr auto slow_interval = std::chrono::seconds(1);  // of what is read, shown or sent again

std::string loss_text(const char* name, const std::optional<double>& loss) {
  return loss ? fmt::format(", {} {:.4f}", name, *loss) : "";
}

// FLOPs of this many steps.
double work_of(const SweepRun& run, std::int64_t steps) {
  return run.realised_flops() * static_cast<double>(steps) / static_cast<double>(run.steps);
}

// Whether it is time again for what is done now and then; then its next time is later.
bool is_due(Clock::time_point& last) {
  const Clock::time_point now = Clock::now();
  if (now - last < slow_interval) return false;
  last = now;
  return true;
}

class SweepRunner {
 public:
  SweepRunner(const SweepPlan& plan, const SweepExecution& execution, Log& log)
      : plan_(plan), execution_(execution), log_(log) {}

  ExitCode run() {
    begin();
    while (!live_.empty() || !waiting_.empty()) {
      const bool has_room = reap();
      if (stop_was_requested()) {
        stop();
        if (live_.empty()) break;
      } else if (has_room || is_due(looked_at_)) {
        start_more();
      }
      show();
      std::this_thread::sleep_for(poll_interval);
    }
    lines_.clear();
    return conclude();
  }

 private:
  struct Live {
    const SweepRun* run;
    ChildProcess process;
    std::uintmax_t output_begin;  // of this start, in output.txt
    std::int64_t first_step;
    std::int64_t place;  // among those side by side
  };

  fs::path folder_of(const SweepRun& run) const { return run_folder(execution_.folder, run.name); }

  void begin();
  std::vector<std::string> command_of(const SweepRun& run, std::int64_t place) const;
  std::int64_t free_place() const;
  void start_more();
  bool is_elsewhere(const SweepRun& run);
  void start(const SweepRun& run);
  bool reap();  // whether any has ended
  void record(const Live& ended, int code);
  void stop();
  void show();
  ExitCode conclude();

  template <class... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args) {
    lines_.clear();
    log_.info(format, std::forward<Args>(args)...);
  }

  const SweepPlan& plan_;
  const SweepExecution& execution_;
  Log& log_;
  LiveLines lines_;
  std::deque<const SweepRun*> waiting_;
  std::deque<Live> live_;
  std::set<const SweepRun*> told_elsewhere_;
  std::size_t num_ended_ = 0;  // finished or failed, before this start too
  double work_to_do_ = 0;      // FLOPs from this start on
  double work_ended_ = 0;      // made in starts that have ended
  Clock::time_point started_at_ = Clock::now();
  Clock::time_point looked_at_;  // for runs to start
  Clock::time_point shown_at_;
  Clock::time_point asked_at_;
  bool stopping_ = false;
};

void SweepRunner::begin() {
  for (const SweepRun& run : plan_.runs) {
    const RunStatus status = run_status(folder_of(run));
    const bool failed = status.state == RunState::failed && !execution_.retry;
    if (status.state == RunState::finished || failed) {
      ++num_ended_;
    } else {
      waiting_.push_back(&run);
    }
    if (failed) {
      tell("{} has failed before, exit code {}: {}; sweep.retry=true starts it again", run.name,
           status.code, status.reason);
    }
  }
  tell("{} of {} runs to do, {} at once; ranks of each: {}, threads of a rank: {}", waiting_.size(),
       plan_.runs.size(), execution_.side_by_side, execution_.ranks, execution_.threads);
  for (const SweepRun* run : waiting_)
    work_to_do_ += work_of(*run, run->steps - read_progress(folder_of(*run)).step);
}

std::vector<std::string> SweepRunner::command_of(const SweepRun& run, std::int64_t place) const {
  std::vector<std::string> words{execution_.program, "train", folder_of(run) / "planned.yaml",
                                 fmt::format("train.threads={}", execution_.threads)};
  if (execution_.ranks > 1) {
    const std::string script = std::string(mpi_environment) + "exec mpirun -n \"$0\" \"$@\"";
    words.insert(words.begin(), {"/bin/bash", "-c", script, std::to_string(execution_.ranks)});
  }
  if (!execution_.gpus.empty()) {
    const std::string gpus = gpus_of_run(execution_.gpus, place, execution_.ranks);
    words.insert(words.begin(), {"/usr/bin/env", "CUDA_VISIBLE_DEVICES=" + gpus});
  }
  return words;
}

std::int64_t SweepRunner::free_place() const {
  std::int64_t place = 0;
  while (std::ranges::find(live_, place, &Live::place) != live_.end()) ++place;
  return place;
}

void SweepRunner::start_more() {
  looked_at_ = Clock::now();
  for (std::size_t looked_at = waiting_.size();
       looked_at > 0 && std::ssize(live_) < execution_.side_by_side; --looked_at) {
    const SweepRun& run = *waiting_.front();
    waiting_.pop_front();
    if (is_elsewhere(run)) {
      waiting_.push_back(&run);
    } else if (run_status(folder_of(run)).state == RunState::finished) {  // elsewhere, meanwhile
      ++num_ended_;
    } else {
      start(run);
    }
  }
}

// A sweep that was killed leaves its runs to themselves for the step they save.
bool SweepRunner::is_elsewhere(const SweepRun& run) {
  if (!is_run_locked(folder_of(run))) return false;
  if (told_elsewhere_.insert(&run).second)
    tell("{} is being run by another process; waiting for it", run.name);
  return true;
}

void SweepRunner::start(const SweepRun& run) {
  const fs::path folder = folder_of(run);
  const fs::path output = folder / "output.txt";
  forget_exit(folder);
  const bool has_output = path_exists(output, ExitCode::checkpoint);
  const auto begin =
      static_cast<std::uintmax_t>(has_output ? file_bytes(output, ExitCode::checkpoint) : 0);
  const std::int64_t step = read_progress(folder).step;
  const std::int64_t place = free_place();
  live_.push_back({&run, ChildProcess(command_of(run, place), output), begin, step, place});
  if (step == 0) {
    tell("{} begins", run.name);
  } else {
    tell("{} goes on, {} of {} steps were made", run.name, step, run.steps);
  }
}

bool SweepRunner::reap() {
  const std::size_t before = live_.size();
  for (std::size_t left = before; left > 0; --left) {
    Live live = std::move(live_.front());
    live_.pop_front();
    if (const std::optional<int> code = live.process.exit_code()) {
      record(live, *code);
    } else {
      live_.push_back(std::move(live));
    }
  }
  return live_.size() < before;
}

void SweepRunner::record(const Live& ended, int code) {
  const SweepRun& run = *ended.run;
  const fs::path folder = folder_of(run);
  const RunProgress progress = read_progress(folder);
  work_ended_ += work_of(run, progress.step - ended.first_step);
  const bool was_killed = code > 128 && code <= 128 + SIGRTMAX;  // not so 255, of mpirun
  const std::string reason = was_killed ? fmt::format("killed by signal {}", code - 128)
                                        : error_line(folder / "output.txt", ended.output_begin);
  // The other process may have left the folder since.
  const bool was_locked_out =
      code == static_cast<int>(ExitCode::checkpoint) && is_run_lock_refusal(reason);
  // USR1 ends it before it listens for signals: nothing is lost.
  const bool has_stopped =
      code == static_cast<int>(ExitCode::stopped) || (stopping_ && code == 128 + SIGUSR1);
  if (was_locked_out) {
    waiting_.push_back(&run);
  } else if (code == 0 && path_exists(folder / "DONE", ExitCode::checkpoint)) {
    ++num_ended_;
    tell("{} has finished{}{}", run.name, loss_text("loss", progress.loss),
         loss_text("validation loss", progress.validation_loss));
  } else if (has_stopped) {
    record_exit(folder, static_cast<int>(ExitCode::stopped), "");
    tell("{} has stopped, {} of {} steps are made", run.name, progress.step, run.steps);
  } else {
    ++num_ended_;
    work_to_do_ -= work_of(run, run.steps - progress.step);
    record_exit(folder, code == 0 ? 1 : code, reason);
    lines_.clear();
    log_.error("{} has failed, exit code {}: {}", run.name, code, reason);
  }
}

void SweepRunner::stop() {
  if (!stopping_) tell("asked to stop: {} runs save and stop", live_.size());
  stopping_ = true;
  if (!is_due(asked_at_)) return;
  for (const Live& live : live_) live.process.send(SIGUSR1);
}

void SweepRunner::show() {
  if (!lines_.is_terminal() || !is_due(shown_at_)) return;
  std::vector<std::string> lines;
  double work_made = work_ended_;
  for (const Live& live : live_) {
    const RunProgress progress = read_progress(folder_of(*live.run));
    work_made += work_of(*live.run, progress.step - live.first_step);
    std::string line = fmt::format("{} | {}/{}", live.run->name, progress.step, live.run->steps);
    if (progress.loss) line += fmt::format(" | loss {:.4f}", *progress.loss);
    if (progress.eta_seconds) line += " | ETA " + duration_text(*progress.eta_seconds);
    lines.push_back(std::move(line));
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - started_at_).count();
  lines.push_back(progress_text("sweep", work_made, work_to_do_, seconds,
                                fmt::format("{} of {} runs ended, {} under way", num_ended_,
                                            plan_.runs.size(), live_.size())));
  lines_.show(lines);
}

ExitCode SweepRunner::conclude() {
  std::map<RunState, std::size_t> counts;
  std::optional<int> failure;
  for (const SweepRun& run : plan_.runs) {
    const RunStatus status = run_status(folder_of(run));
    ++counts[status.state];
    if (status.state == RunState::failed && !failure) failure = status.code;
  }
  const std::size_t failed = counts[RunState::failed];
  const std::size_t open = plan_.runs.size() - failed - counts[RunState::finished];
  tell("{} of {} runs have finished, {} failed, {} can go on", counts[RunState::finished],
       plan_.runs.size(), failed, open);
  if (open > 0) return ExitCode::stopped;
  if (!failure) return ExitCode::success;
  const bool is_ours = *failure >= static_cast<int>(ExitCode::internal) &&
                       *failure <= static_cast<int>(ExitCode::peer);
  return is_ours ? static_cast<ExitCode>(*failure) : ExitCode::peer;
}

}  // namespace

ExitCode run_sweep(const SweepPlan& plan, const SweepExecution& execution, Log& log) {
  return SweepRunner(plan, execution, log).run();
}

}  // namespace dualpath
