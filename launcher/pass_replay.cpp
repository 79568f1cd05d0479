#include "launcher/pass_replay.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace dualpath {

OwnMicroBatches own_micro_batches(const ParallelConfig& parallel, bool tied, std::int64_t count) {
  if (parallel.tensor > 1) return {.obstacle = "ranks of a tensor group talk within the passes"};
  const bool replicas = parallel.data > 1 || (parallel.pipeline > 1 && tied);
  if (!replicas) return {0, count, ""};
  // Values are gathered until the first forward pass, gradients reduced from the last backward
  // pass.
  if (count > 2) return {1, count - 1, ""};
  return {.obstacle = fmt::format(
              "the first and the last of a rank's {} micro-batches gather and reduce among ranks "
              "that hold the same weights",
              count)};
}

PassReplay::PassReplay(CudaGraphs choice, const StagePlan& plan, const OwnMicroBatches& own,
                       Device& device, Stream& stream)
    : device_(device), own_(own) {
  if (choice == CudaGraphs::off) own_.obstacle = "train.cuda_graphs = off";
  if (own_.obstacle.empty()) {
    recorder_ = device.make_recorder(stream);
    if (recorder_ == nullptr) own_.obstacle = device.name() + " has none";
  }
  CHECK_AS(ExitCode::configuration, choice != CudaGraphs::on || recorder_ != nullptr,
           "train.cuda_graphs = on, but no pass can be a graph: {}; auto does without",
           own_.obstacle);
  if (recorder_ == nullptr) return;
  for (const PipelineOp& op : plan.ops) {
    const auto* work = std::get_if<ComputeOp>(&op);
    if (work != nullptr && is_own(*work)) numbers_.emplace(*work, numbers_.size());
  }
  recorded_.resize(numbers_.size());
}

void PassReplay::begin_step() {
  if (recorder_ == nullptr || std::exchange(is_first_step_, false)) return;
  if (const std::size_t now = device_.num_allocations(); now != allocations_) {
    recorded_.assign(recorded_.size(), false);
    allocations_ = now;
  }
  const bool all = std::ranges::count(recorded_, false) == 0;
  mode_ = all ? Mode::replay : Mode::record;
}

void PassReplay::run(const ComputeOp& op, const WorkRecorder::Issue& issue) {
  if (mode_ == Mode::issue || !is_own(op)) return issue();
  const std::size_t number = numbers_.at(Key(op));
  if (mode_ == Mode::replay) return recorder_->replay(number, issue);
  if (recorded_[number]) return issue();
  try {
    recorded_[number] = recorder_->record(number, issue);
  } catch (const Error& error) {
    DUALPATH_FAIL(error.code(),
                  "a pass could not be recorded: {}; train.cuda_graphs = off records "
                  "none",
                  error.what());
  }
}

std::string PassReplay::describe() const {
  if (recorder_ == nullptr) return "no CUDA graphs: " + own_.obstacle;
  return fmt::format("CUDA graphs: {}, for the passes of micro-batches {} to {} of a step",
                     num_recordings(), own_.begin + 1, own_.end);
}

}  // namespace dualpath
