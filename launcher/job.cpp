#include "launcher/job.h"

#include <algorithm>
#include <cstdlib>
#include <sched.h>
#include <thread>

namespace dualpath {

Job::Job() {
  if (started_by_mpi_launcher()) {
    session_.emplace();
    world_ = session_->world();
  } else {
    world_ = make_self_communicator();
  }
}

std::string Job::prefix() const {
  if (world_->size() == 1) return "";
  return fmt::format("[rank {} d{}] ", world_->rank(), world_->rank());
}

int Job::num_threads(std::int64_t asked, int ranks_of_host) {
  if (asked > 0) return static_cast<int>(asked);
  if (const char* given = std::getenv("OMP_NUM_THREADS")) {
    if (const int threads = std::atoi(given); threads > 0) return threads;
  }
  // The cores this process may use: fewer than the host's in a Slurm job or a container.
  const int host_cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t mine;
  const int my_cores =
      sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : host_cores;
  return std::max(1, std::min(my_cores, host_cores / ranks_of_host));
}

}  // namespace dualpath
