// The NCCL backend: tensors in the memory of GPUs, one GPU a rank. A program built without NCCL has
// it too: it says so (no_nccl.cpp).
#pragma once

#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

// Why these ranks, each with its `device`, cannot use NCCL; "" where they can. The same on all
// ranks. Collective.
std::string nccl_obstacle(Communicator& ranks, const Device& device);

// Among the ranks of `host`, whose host operations it takes, a communicator for tensors in the
// memory of `device`. Tensor operations go on streams of that device, and none holds up the host
// once all kinds have been used; those under way are told to `operations`. What is given outlives
// this. Destroyed on all ranks in the same order; while an exception is under way it ends what is
// under way. REQUIRES: nccl_obstacle(host, device) is "". Collective.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, const Device& device,
                                                     OperationsUnderWay& operations);

// "2.28.9"; empty without NCCL, and where the library does not load.
std::string nccl_version();

// What NCCL goes by besides the machine it finds, and the last bits of its sums may depend on: the
// environment's variables of its own, as "NCCL_ALGO=Ring NCCL_NVLS_ENABLE=0".
std::string nccl_settings();

}  // namespace dualpath
