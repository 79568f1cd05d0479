// Job: this process among the ranks of a training job, and its device.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/device/device.h"
#include "parallel/communicator.h"
#include "parallel/mpi_communicator.h"

namespace dualpath {

class Job {
 public:
  // Joins the other ranks where mpirun or srun started this process, else works alone.
  Job();

  Communicator& world() { return *world_; }
  const Communicator& world() const { return *world_; }
  // Those of world() and of all groups split from it.
  OperationsUnderWay& operations() { return operations_; }
  bool is_root() const { return world_->rank() == 0; }
  int local_rank() const { return session_ ? session_->local_rank() : 0; }
  int local_size() const { return session_ ? session_->local_size() : 1; }

  int num_threads(std::int64_t asked) const { return num_threads(asked, local_size()); }
  // Whether the host's ranks with so many threads each leave a core for communication.
  bool has_spare_cores(int threads_per_rank) const;
  // Threads of a rank: `asked`, or OMP_NUM_THREADS, or the host's cores shared among its ranks.
  // Throws Error(configuration) where OMP_NUM_THREADS is what counts, and is no such number.
  static int num_threads(std::int64_t asked, int ranks_of_host);

 private:
  OperationsUnderWay operations_;
  std::optional<MpiSession> session_;
  std::unique_ptr<Communicator> world_;
};

}  // namespace dualpath
