// The pipeline plan: what each stage does in a step, in order, with messages and buffers, as data.
// Pure functions; a small interpreter in the trainer carries a plan out.
#pragma once

#include <variant>
#include <vector>

#include "parallel/pipeline_order.h"

namespace dualpath {

// One tensor [tokens of a micro-batch, d] between two stages: the output of a piece, or the
// gradient of a piece's input.
struct Message {
  bool send = false;  // else receive
  bool gradient = false;
  int peer = 0;   // stage
  int chunk = 0;  // of this stage: which computes what is sent, or takes what is received
  int micro_batch = 0;
  int buffer = 0;
};

struct ComputeOp {
  ChunkWork work;
  // Which of the chunk's StagePlan::slots holds the micro-batch's activations: from forward up to
  // and including backward or backward_input. -1: backward_weight.
  int slot = -1;
  // Which of the chunk's StagePlan::deferred_slots holds what backward_input leaves for
  // backward_weight; -1: other work.
  int deferred_slot = -1;
  // Message buffers. A forward takes its input from, and leaves its output in; a backward or
  // backward_input the gradient of its output, and of its input. -1: none (tokens, loss,
  // parameters).
  int input = -1;
  int output = -1;
};

// Messages that are exchanged as one group; see Communicator::exchange.
struct ExchangeOp {
  int id = 0;  // 0, 1, ... in the order of the plan
  std::vector<Message> messages;
};

// The exchange must be done.
struct AwaitOp {
  int exchange = 0;
};

using PipelineOp = std::variant<ComputeOp, ExchangeOp, AwaitOp>;

// Every micro-batch goes once through every chunk; the gradients of a chunk's weights are whole
// after its backward (zero_bubble: backward_weight) of the last micro-batch.
//
// An exchange may run as soon as everything before it in the plan is done, and must be done at its
// AwaitOp. The exchanges of a stage run in order. They may run on a stream of their own: it waits
// for the compute stream when an exchange is issued, and the compute stream waits for the exchange
// at its AwaitOp. Or they run in place, and the AwaitOps do nothing. Neither can deadlock, even
// where a send blocks until its receiver has reached the matching exchange. Messages between two
// stages match in order. All messages at one point of the plan form one exchange; but messages that
// arrive during the next work form one of their own where that work waits for others.
struct StagePlan {
  std::vector<PipelineOp> ops;
  std::vector<int> slots;           // by chunk: micro-batches whose activations are held at once
  std::vector<int> deferred_slots;  // by chunk; 0 where backward is not split
  int buffers = 0;                  // for messages, all of one size
  int exchanges = 0;
};

// Relative durations, assumed equal for all pieces. They only decide how early receives are issued:
// a wrong guess costs time, not correctness. For exchanges on a stream of their own, `message` is
// above 0: a receive is issued before the work during which the message arrives. For exchanges in
// place it is 0; otherwise that work would wait.
struct WorkDurations {
  int forward = 5;
  int backward_input = 5;
  int backward_weight = 5;
  int message = 1;
};

// The plans of all stages. A configuration Error where schedule_problem finds one.
std::vector<StagePlan> plan_pipeline(Schedule schedule, const PipelineShape& shape,
                                     const WorkDurations& durations = {});

}  // namespace dualpath
