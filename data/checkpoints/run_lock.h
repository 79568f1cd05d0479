// RunLock: at most one live job on a run folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace dualpath {

// How long a RunLock waits for a holder that seems to be ending. Ranks whose mpirun was killed hold
// the folder for some moments more.
struct LockPatience {
  double seconds = 15;
  // Given a line for people when the waiting begins.
  std::function<void(const std::string&)> tell = [](const std::string&) {};
};

// Holds the run folder from construction to destruction. The kernel keeps the lock and drops it
// with the process, however that ends. Throws Error(checkpoint) that tells process, host and start
// of the job that holds the folder already: at once where that is a process of this host whose
// parent is the one that started it, else after some patience.
class RunLock {
 public:
  // Makes the folder where it does not exist. The folder's `.lock` is written anew, which tells a
  // job script that the run has begun.
  explicit RunLock(const std::filesystem::path& run_folder, const LockPatience& patience = {});
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
