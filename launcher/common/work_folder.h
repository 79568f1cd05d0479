// Folders for work under way, and what becomes of them when a process is killed.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "core/base/error.h"

namespace dualpath {

// A new folder PREFIXxxxxxx, six letters and digits, which goes with this object. A lock on a file
// in it is held meanwhile: the kernel drops that with the process, however it ends, so that what a
// killed process left can be told from what is in use, by any process on any host that sees it.
class WorkFolder {
 public:
  // Makes the prefix's folder where it does not exist. Throws Error(code).
  WorkFolder(const std::filesystem::path& prefix, ExitCode code);
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder();

  const std::filesystem::path& path() const { return path_; }
  // The folder stays, as if the process were killed.
  void abandon() { abandoned_ = true; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
  bool abandoned_ = false;
};

struct AbandonedFolders {
  std::vector<std::filesystem::path> removed;
  std::vector<std::filesystem::path> in_use;  // or no lock can tell
};

// Removes the work folders of this prefix whose process is gone. Of each, rescue(folder) is called
// before, where given, while its lock is held. What cannot be looked at is left: another user's, or
// where the file system has no locks.
AbandonedFolders remove_abandoned(
    const std::filesystem::path& prefix,
    const std::function<void(const std::filesystem::path& folder)>& rescue = {});

}  // namespace dualpath
