// Memory that kernels and their libraries take for themselves, beside what a trainer allocates.
#pragma once

#include <vector>

#include "launcher/plan/machine.h"
#include "launcher/train/trainer.h"

namespace dualpath {

// The most that a rank's kernels take: on a CPU the weights packed for bf16 products, on a GPU the
// workspaces of cuBLASLt and cuDNN. Pure.
std::vector<CategoryBytes> kernel_memory(const TrainerOptions& options,
                                         const ParallelLayout& layout, Processor processor);

}  // namespace dualpath
