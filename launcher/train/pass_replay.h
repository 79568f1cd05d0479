// PassReplay: runs the passes of a micro-batch as CUDA graphs, where the device can record them and
// they do not communicate. A trainer's first step issues every kernel; after it all memory is
// allocated and all libraries have their plans. The passes are recorded before the second step and
// replayed from there on. If memory has been allocated since, a recording may use memory that is
// gone: the passes are recorded again before the next step.
//
// Recording runs no work, and no step is in progress meanwhile. If it fails, every pass is issued
// kernel by kernel from there on; only what the passes left on the host, such as a taken slot, has
// to be undone. Ranks need not agree: the passes do the same either way and do not communicate.
//
// Within a step either all of these passes are replayed or none is, so that a backward pass always
// finds what its forward pass left on the host.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "launcher/config/device_options.h"
#include "parallel/parallel_config.h"
#include "parallel/pipeline_plan.h"

namespace dualpath {

// The micro-batches [begin, end) of a step whose passes do not communicate; or the reason why there
// are none.
struct OwnMicroBatches {
  std::int64_t begin = 0, end = 0;
  std::string obstacle;
};
// tied: embedding and head share one weight. REQUIRES: parallel is resolved.
OwnMicroBatches own_micro_batches(const ParallelConfig& parallel, bool tied, std::int64_t count);

class PassReplay {
 public:
  // Device and stream outlive it. Throws Error(configuration) where graphs are required (`on`) and
  // no pass can be one.
  PassReplay(CudaGraphs choice, const StagePlan& plan, const OwnMicroBatches& own, Device& device,
             Stream& stream);

  // To be called before a step's first pass. If passes are to be recorded, issue(op) is called for
  // those of some of the micro-batches, in the plan's order, as WorkRecorder::Issue. Returns the
  // reason if recording has failed: the host's state is then half changed, and no pass is replayed
  // from here on. Throws Error(configuration) instead where graphs are required.
  std::string begin_step(const std::function<void(const ComputeOp&)>& issue);
  void run(const ComputeOp& op, const WorkRecorder::Issue& issue);

  std::size_t num_recordings() const { return numbers_.size(); }
  // A line for the log: which passes are CUDA graphs, or why none is.
  std::string describe() const;

 private:
  // All that one pass issues other than another: which it is, and where it finds and leaves
  // activations and messages. Tokens are put into one place before each pass. Micro-batch size,
  // loss scale, regularisers and read-outs are the same in all of a trainer's passes.
  struct Key {
    explicit Key(const ComputeOp& op)
        : work(op.work.work),
          chunk(op.work.chunk),
          slot(op.slot),
          deferred_slot(op.deferred_slot),
          input(op.input),
          output(op.output) {}
    auto operator<=>(const Key&) const = default;
    Work work;
    int chunk, slot, deferred_slot, input, output;
  };

  void do_without(std::string obstacle);
  void record(const std::function<void(const ComputeOp&)>& issue);
  bool is_own(const ComputeOp& op) const {
    return own_.begin <= op.work.micro_batch && op.work.micro_batch < own_.end;
  }

  const Device& device_;
  const bool is_wanted_;
  OwnMicroBatches own_;
  std::unique_ptr<WorkRecorder> recorder_;  // null: every pass is issued kernel by kernel
  std::map<Key, std::size_t> numbers_;
  std::vector<ComputeOp> to_record_;  // whole micro-batches, which together have all numbers
  bool is_first_step_ = true;
  bool is_recorded_ = false;
  std::size_t allocations_ = 0;  // of the device, before what is recorded was
};

}  // namespace dualpath
