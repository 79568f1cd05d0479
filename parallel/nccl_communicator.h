// The NCCL backend: tensors in GPU memory, one GPU per rank. In a program built without NCCL these
// functions say so (no_nccl.cpp).
#pragma once

#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

// Why these ranks, each with its `device`, cannot use NCCL; "" where they can. The same on all
// ranks. Collective.
std::string nccl_obstacle(Communicator& ranks, const Device& device);

// A communicator among the ranks of `host` for tensors in the memory of `device`; `host` carries
// out host operations. Tensor operations run on streams of the device; none blocks the host once
// each kind has been used. `operations` is notified of them. All arguments outlive this. All ranks
// destroy their communicators in the same order; during an exception, operations in progress are
// aborted. REQUIRES: nccl_obstacle(host, device) is "". Collective.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, const Device& device,
                                                     OperationsUnderWay& operations);

// "2.28.9"; empty without NCCL, and where the library does not load.
std::string nccl_version();

// NCCL's environment variables, such as "NCCL_ALGO=Ring NCCL_NVLS_ENABLE=0": the last bits of its
// sums may depend on them.
std::string nccl_settings();

}  // namespace dualpath
