// A folder that appears when it is complete, where there was none.
#pragma once

#include <filesystem>

#include "launcher/common/work_folder.h"

namespace dualpath {

class NewFolder {
 public:
  // Makes a folder NAME.partial-xxxxxx beside `name` to write to, which is removed with this
  // object; what a killed process left of one is removed first. Throws Error(checkpoint), also
  // where there is anything at `name` but an empty folder: nothing is overwritten.
  explicit NewFolder(const std::filesystem::path& name);

  const std::filesystem::path& name() const { return name_; }
  const std::filesystem::path& partial() const { return partial_; }  // where to write; exists

  // Gives the folder its name. Throws Error(checkpoint).
  void publish();

 private:
  std::filesystem::path name_;
  WorkFolder work_;
  std::filesystem::path partial_;
};

}  // namespace dualpath
