// The kernels, compiled for several sets of instructions.
#pragma once

#include <memory>
#include <span>

#include "core/ops/ops.h"

namespace dualpath {

struct KernelSet {
  const char* name;  // "avx512"
  bool (*runs_here)();
  std::unique_ptr<Ops> (*make_ops)(int num_threads);
};

// All that were built, the best first.
std::span<const KernelSet> kernel_sets();

// Whether oneDNN multiplies bf16 numbers here. AVX-512 suffices; AVX512_BF16 makes it twice as fast
// as fp32.
bool multiplies_bf16();

}  // namespace dualpath
