// PassReplay: issues a micro-batch's passes by one call each, where the device can record them
// (CUDA graphs) and they have to do with no other rank. A trainer's first step issues every kernel,
// with which all memory and all plans of libraries are there; the second one records, those behind
// it replay. Where memory has been allocated since, what was recorded may use memory that is gone:
// the next step records anew.
//
// In one step the host goes through all of these passes or through none: what a forward pass leaves
// on the host for its backward pass, such as a slot that is taken, is never half there.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/device.h"
#include "parallel/parallel_config.h"
#include "parallel/pipeline_plan.h"

namespace dualpath {

enum class CudaGraphs { automatic, on, off };

template <>
struct EnumNames<CudaGraphs> {
  static constexpr std::pair<CudaGraphs, const char*> values[] = {
      {CudaGraphs::automatic, "auto"}, {CudaGraphs::on, "on"}, {CudaGraphs::off, "off"}};
};

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

  void begin_step();
  // issue(): as WorkRecorder wants it, for the own micro-batches' passes.
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
  enum class Mode { issue, record, replay };

  bool is_own(const ComputeOp& op) const {
    return own_.begin <= op.work.micro_batch && op.work.micro_batch < own_.end;
  }

  const Device& device_;
  OwnMicroBatches own_;
  std::unique_ptr<WorkRecorder> recorder_;  // null: every pass is issued kernel by kernel
  std::map<Key, std::size_t> numbers_;
  Mode mode_ = Mode::issue;
  bool is_first_step_ = true;
  std::vector<bool> recorded_;   // by number
  std::size_t allocations_ = 0;  // of the device, before what is recorded was
};

}  // namespace dualpath
