#include "launcher/job.h"

#include <algorithm>
#include <cstdlib>

#include "core/host_cores.h"

namespace dualpath {

Job::Job() {
  if (started_by_mpi_launcher()) {
    session_.emplace(operations_);
    world_ = session_->world();
  } else {
    world_ = make_self_communicator();
  }
}

namespace {

// The cores a rank may use.
int cores_of_rank(int ranks_of_host) {
  return std::min(own_cores(), host_cores() / ranks_of_host);
}

}  // namespace

int Job::num_threads(std::int64_t asked, int ranks_of_host) {
  if (asked > 0) return static_cast<int>(asked);
  if (const char* given = std::getenv("OMP_NUM_THREADS")) {
    if (const int threads = std::atoi(given); threads > 0) return threads;
  }
  return std::max(1, cores_of_rank(ranks_of_host));
}

bool Job::has_spare_cores(int threads_per_rank) const {
  return threads_per_rank < cores_of_rank(local_size());
}

}  // namespace dualpath
