// What carries tensors of the ranks' devices from one rank to another.
#pragma once

#include <memory>

#include "core/base/log.h"
#include "launcher/job/job.h"
#include "parallel/parallel_config.h"

namespace dualpath {

// mpi or nccl; of several GPUs says which, and of `auto` why not NCCL. Throws Error(configuration)
// where NCCL is asked for and cannot be. Collective.
CommunicationBackend choose_backend(CommunicationBackend asked, Job& job, const Device& device,
                                    Log& log);

// Among all ranks of the job, for tensors of `device`; null where job.world() does. Both outlive
// it. REQUIRES: choose_backend() gave this backend. Collective.
std::unique_ptr<Communicator> make_device_communicator(CommunicationBackend backend, Job& job,
                                                       Device& device);

}  // namespace dualpath
