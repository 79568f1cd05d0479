// RunLock: at most one live job on a run folder.
#pragma once

#include <filesystem>
#include <string_view>

namespace dualpath {

// Holds the run folder from construction to destruction. The kernel keeps the lock and drops it
// with the process, however that ends. Throws Error(checkpoint) that tells process, host and start
// of the job that holds the folder already.
class RunLock {
 public:
  // Makes the folder where it does not exist. The folder's `.lock` is written anew, which tells a
  // job script that the run has begun.
  explicit RunLock(const std::filesystem::path& run_folder);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int descriptor_;
};

// Whether this is in a RunLock's refusal, whatever stands around it.
bool is_run_lock_refusal(std::string_view message);

// Whether a live job holds the folder. Looking takes the lock for a moment, which a RunLock waits
// out.
bool is_run_locked(const std::filesystem::path& run_folder);

}  // namespace dualpath
