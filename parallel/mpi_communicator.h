// The MPI backend: host memory, one process a rank.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

// Initialises MPI for its lifetime; at most one per process. Its destructor calls MPI_Finalize,
// which waits for all ranks, unless an exception is being handled.
class MpiSession {
 public:
  // `operations` outlives the communicators; they tell it what they do.
  explicit MpiSession(OperationsUnderWay& operations);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  std::unique_ptr<Communicator> world();
  int local_rank() const { return local_rank_; }  // among the ranks of this host
  int local_size() const { return local_size_; }

 private:
  OperationsUnderWay& operations_;
  int local_rank_ = 0;
  int local_size_ = 1;
};

// Ends all ranks of the job with this exit code, after a failure of this one; returns where MPI is
// not running.
void abort_job(int exit_code);

// Whether this process was started by mpirun or srun, so that MPI should be initialised.
bool started_by_mpi_launcher();

}  // namespace dualpath
