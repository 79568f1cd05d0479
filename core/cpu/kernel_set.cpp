// Compiled once for each set of kernels: its one visible function.
#include "core/cpu/cpu_ops.h"

namespace dualpath {

std::unique_ptr<Ops> DUALPATH_KERNEL_SET_ENTRY(int num_threads) {
  return std::make_unique<CpuOps>(num_threads);
}

}  // namespace dualpath
