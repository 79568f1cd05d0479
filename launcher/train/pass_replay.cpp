#include "launcher/train/pass_replay.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "core/base/error.h"

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
    : device_(device), is_wanted_(choice == CudaGraphs::on), own_(own) {
  if (choice == CudaGraphs::off) own_.obstacle = "train.cuda_graphs = off";
  if (own_.obstacle.empty()) {
    recorder_ = device.make_recorder(stream);
    if (recorder_ == nullptr) own_.obstacle = device.name() + " has none";
  }
  if (recorder_ == nullptr) {
    do_without(own_.obstacle);
    return;
  }
  std::vector<ComputeOp> all;
  std::set<std::pair<int, int>> needed;  // chunks' micro-batches
  for (const PipelineOp& op : plan.ops) {
    const auto* pass = std::get_if<ComputeOp>(&op);
    if (pass == nullptr || !is_own(*pass)) continue;
    all.push_back(*pass);
    if (numbers_.emplace(*pass, numbers_.size()).second)
      needed.emplace(pass->work.chunk, pass->work.micro_batch);
  }
  std::ranges::copy_if(all, std::back_inserter(to_record_), [&](const ComputeOp& pass) {
    return needed.contains({pass.work.chunk, pass.work.micro_batch});
  });
}

void PassReplay::do_without(std::string obstacle) {
  CHECK_AS(ExitCode::configuration, !is_wanted_,
           "train.cuda_graphs = on, but no pass can be a graph: {}; auto does without", obstacle);
  recorder_.reset();
  own_.obstacle = std::move(obstacle);
}

std::string PassReplay::begin_step(const std::function<void(const ComputeOp&)>& issue) {
  if (recorder_ == nullptr || std::exchange(is_first_step_, false)) return {};
  if (const std::size_t now = device_.num_allocations(); now != allocations_) {
    is_recorded_ = false;
    allocations_ = now;
  }
  if (!is_recorded_) record(issue);
  return recorder_ == nullptr ? own_.obstacle : "";
}

void PassReplay::record(const std::function<void(const ComputeOp&)>& issue) {
  const ComputeOp* under_way = nullptr;
  const auto keep = [&](const ComputeOp& pass) {
    under_way = &pass;
    return recorder_->record(numbers_.at(Key(pass)), [&] { issue(pass); });
  };
  try {
    is_recorded_ = std::ranges::all_of(to_record_, keep);
  } catch (const Error& error) {
    do_without(
        fmt::format("{} could not be recorded: {}", name_of(under_way->work.work), error.what()));
  }
}

void PassReplay::run(const ComputeOp& op, const WorkRecorder::Issue& issue) {
  if (!is_recorded_ || !is_own(op)) return issue();
  recorder_->replay(numbers_.at(Key(op)), issue);
}

std::string PassReplay::describe() const {
  if (recorder_ == nullptr) return "no CUDA graphs: " + own_.obstacle;
  return fmt::format("CUDA graphs: {}, for the passes of micro-batches {} to {} of a step",
                     num_recordings(), own_.begin + 1, own_.end);
}

}  // namespace dualpath
