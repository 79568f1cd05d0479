// A folder of results that appears when it is complete.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/common/work_folder.h"

namespace dualpath {

// The folder that `name` means: without a slash at its end, and of a symbolic link the target.
// Throws Error(data) where links lead nowhere.
std::filesystem::path output_path(const std::string& name);

class OutputFolder {
 public:
  // Makes a folder NAME.partial-xxxxxx beside `name` to write to. It is removed with this object.
  // Throws Error(data), also where `name` could not be replaced in the end.
  explicit OutputFolder(const std::string& name);

  const std::filesystem::path& name() const { return name_; }
  const std::filesystem::path& partial() const { return partial_; }  // where to write; exists

  // Gives the folder its name; what bore it before is removed. Throws Error(data); then that is
  // there as before.
  void finish();

 private:
  std::filesystem::path name_;
  WorkFolder work_;
  std::filesystem::path partial_;
};

// Clears what killed processes left of the output `name`: partial results go, and a result that was
// about to be replaced gets its name back. Returns what has been done, a line each. Throws
// Error(data).
std::vector<std::string> clear_leftovers(const std::string& name);

}  // namespace dualpath
