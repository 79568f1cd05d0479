// PassReplay: issues a micro-batch's passes by one call each, where the device can record them
// (CUDA graphs) and they have to do with no other rank. A trainer's first step issues every kernel,
// with which all memory and all plans of libraries are there; before the second one they are
// recorded, then replayed. Where memory has been allocated since, what was recorded may use memory
// that is gone: it is recorded anew before the next step.
//
// Nothing is done while passes are recorded, and no step is under way. So where that fails, every
// pass is issued kernel by kernel from there on, and nothing has to be undone but what passes leave
// on the host, such as a slot that is taken. Ranks need not agree on it: what a pass does is the
// same either way, and with other ranks these passes have nothing to do.
//
// In one step the host goes through all of these passes or through none: what a forward pass leaves
// on the host for its backward pass is never half there.
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

// The micro-batches of a step, from begin up to end, whose passes are a rank's own affair; and why
// there are none.
struct OwnMicroBatches {
  std::int64_t begin = 0, end = 0;
  std::string obstacle;
};
// tied: the embedding is the head's weight, too. REQUIRES: parallel is resolved.
OwnMicroBatches own_micro_batches(const ParallelConfig& parallel, bool tied, std::int64_t count);

class PassReplay {
 public:
  // Device and stream outlive it. Throws Error(configuration) where graphs are wanted and no pass
  // can be one.
  PassReplay(CudaGraphs choice, const StagePlan& plan, const OwnMicroBatches& own, Device& device,
             Stream& stream);

  // Before a step's first pass. Where passes are to be recorded, issue(op) is called for those of
  // some of the own micro-batches, in the plan's order: as WorkRecorder wants it. Returns why that
  // has failed, if it has: then what passes leave on the host is half there, and no pass is
  // replayed from here on. Throws Error(configuration) instead where graphs are wanted.
  std::string begin_step(const std::function<void(const ComputeOp&)>& issue);
  void run(const ComputeOp& op, const WorkRecorder::Issue& issue);

  std::size_t num_recordings() const { return numbers_.size(); }
  // For people: which passes are CUDA graphs, or why none is.
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
