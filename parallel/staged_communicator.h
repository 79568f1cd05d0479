// Collectives on tensors in device memory that the host cannot read: they are copied through host
// memory, and another communicator sends them. So several ranks can share one GPU.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace dualpath {

// Among the ranks of `host`, a communicator for tensors in host memory. It and `device` outlive
// this. Tensors go in pieces of at most piece_bytes, a multiple of 4096; messages of an exchange go
// whole. Each group takes that much host memory with its first operation.
std::unique_ptr<Communicator> make_staged_communicator(Communicator& host, Device& device,
                                                       std::size_t piece_bytes = 32 << 20);

}  // namespace dualpath
