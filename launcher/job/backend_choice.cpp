#include "launcher/job/backend_choice.h"

#include "parallel/nccl_communicator.h"
#include "parallel/staged_communicator.h"

namespace dualpath {

CommunicationBackend choose_backend(CommunicationBackend asked, Job& job, const Device& device,
                                    Log& log) {
  const std::string obstacle = nccl_obstacle(job.world(), device);
  CHECK_AS(ExitCode::configuration, asked != CommunicationBackend::nccl || obstacle.empty(),
           "parallel.backend = nccl, but {}; mpi and auto need no NCCL", obstacle);
  const bool nccl = asked != CommunicationBackend::mpi && obstacle.empty();
  if (!device.is_host_memory() && job.world().size() > 1) {
    if (nccl)
      log.info("the GPUs talk through NCCL {}", nccl_version());
    else if (obstacle.empty())
      log.info("the GPUs talk through the host and MPI");
    else
      log.info("the GPUs talk through the host and MPI: {}", obstacle);
  }
  return nccl ? CommunicationBackend::nccl : CommunicationBackend::mpi;
}

std::unique_ptr<Communicator> make_device_communicator(CommunicationBackend backend, Job& job,
                                                       Device& device) {
  if (backend == CommunicationBackend::nccl)
    return make_nccl_communicator(job.world(), device, job.operations());
  if (device.is_host_memory()) return nullptr;
  return make_staged_communicator(job.world(), device);
}

}  // namespace dualpath
