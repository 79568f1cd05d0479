// Memory that kernels and their libraries take for themselves, beside what a trainer allocates.
#pragma once

#include <vector>

#include "launcher/plan/machine.h"
#include "launcher/train/trainer.h"

namespace dualpath {

// Of a rank's kernels on such a processor, at the most: on a CPU weights packed for products of
// bf16 numbers, on a GPU what cuBLASLt and cuDNN work in. Pure.
std::vector<CategoryBytes> kernel_memory(const TrainerOptions& options,
                                         const ParallelLayout& layout, Processor processor);

}  // namespace dualpath
