// The size of a micro-batch, where a configuration leaves it open.
#pragma once

#include <cstdint>

#include "launcher/config/run_config.h"

namespace dualpath {

// train.micro_batch_size, or, where that is `auto`, the largest number of sequences
//   - that divides the sequences which a rank reads in a step,
//   - that leaves a pipeline of p stages at least 4p micro-batches, where there are as many
//     sequences, and a number that its schedule takes,
//   - with at most 2,048 tokens on a CPU, 16,384 on a GPU: more make no kernel faster by much,
//   - whose kept activations, of all micro-batches held at once, take at most 1 GiB on a CPU,
//     16 GiB on a GPU;
// 1 where no number satisfies all. Where the processor is unknown, train.device decides. A pure
// function: the same on every rank and at every resume in the same layout. REQUIRES: parallel
// is resolved, and the config validates.
std::int64_t choose_micro_batch(const RunConfig& config, Processor processor);

}  // namespace dualpath
