// DeviceOps: the kernels of core/ops.h as launches of the kernels in this folder, in layers; see
// launching_ops.h for what a Launcher is. Matrix products are the derived class's.
#pragma once

#include <utility>

#include "core/cuda/attention_ops.h"
#include "core/cuda/elementwise_ops.h"
#include "core/cuda/loss_ops.h"
#include "core/cuda/path_ops.h"
#include "core/cuda/row_ops.h"

namespace dualpath::gpu {

template <class Launcher>
using LaunchedKernels =
    ElementwiseOps<RowOps<AttentionOps<PathOps<LossOps<LaunchingOps<Launcher>>>>>>;

template <class Launcher>
class DeviceOps : public LaunchedKernels<Launcher> {
 public:
  using LaunchedKernels<Launcher>::LaunchedKernels;

  // Products read weights as they lie.
  void hold_weights() override {}
  void release_weights() override {}
};

}  // namespace dualpath::gpu
