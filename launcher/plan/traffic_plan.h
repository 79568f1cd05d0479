// What a rank sends in a training step, by formula. With
//   b   micro-batches of a step on a rank       T   tokens of a micro-batch
//   t   ranks of the tensor axis                d   width of the residual stream
//   e_m, e_s, e_o  bytes of a number in the master, the stream's and the operand type
// the least that a rank must send (see Traffic) is
//
//   tensor      for each micro-batch and each layer with a wide or standard path, in tensors of
//               (t-1)·T·d numbers, (t-1)/t of what the group has together:
//                 forward    n gathered, y scattered
//                 backward   n (again) and dy gathered, dn scattered;
//                            recompute = layer: y scattered once more for the gates
//               gathers are e_o a number, scatters e_m. The number of iterations does not count.
//               With a sharded vocabulary, for each micro-batch, besides:
//                 embedding  (t-1)·T ids gathered and (t-1)·T·d·e_m of rows scattered; backward the
//                            ids again and (t-1)·T·d·e_s of their gradients gathered
//                 head       (t-1)·T·d·e_o of states and (t-1)·T targets gathered,
//                            (t-1)·3·t·T·e_m of statistics chunk by chunk, (t-1)·T·d·e_m scattered
//                 An id or target is 4 bytes.
//   pipeline    T·d·e_s for each micro-batch and each piece with one behind it, and the same for
//               each piece with one before it
//   replicated, data, tied, tied_shard   once a step, for every region of the parameters on the n
//               ranks of its group, N numbers and gaps:
//                 ZeRO-1     N·e_m (n-1)/n of gradients scattered, N·e_o (n-1)/n of new values
//                            gathered, or e_m where products do not read them
//                 otherwise  N·e_m 2(n-1)/n of gradients all-reduced
//   world       StepSums, 8 bytes a number, all-reduced once a step
#pragma once

#include "launcher/train/trainer.h"

namespace dualpath {

// On the tensor axis, for one micro-batch on one piece of the model.
struct PassTraffic {
  Traffic forward;
  Traffic backward;
};
PassTraffic tensor_traffic(const TrainerOptions& options, const StageLayers& piece);

// Between stages, one micro-batch's.
std::int64_t message_bytes(const TrainerOptions& options);

// What `rank` sends in a step, the same in every step. REQUIRES: options.parallel is resolved.
GridTraffic predict_traffic(const TrainerOptions& options, int rank);
// The same for the rank whose layout this is.
GridTraffic predict_traffic(const TrainerOptions& options, const ParallelLayout& layout);

}  // namespace dualpath
