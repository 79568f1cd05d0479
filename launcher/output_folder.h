// A folder of results that appears when it is complete.
#pragma once

#include <filesystem>
#include <string>

namespace dualpath {

class OutputFolder {
 public:
  // Makes a folder beside `name` to write to. It is removed with this object unless finished.
  explicit OutputFolder(const std::string& name);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  const std::filesystem::path& name() const { return name_; }
  const std::filesystem::path& partial() const { return partial_; }  // where to write

  // Gives the folder its name; what bore it before is removed. Throws Error(data).
  void finish();

 private:
  std::filesystem::path name_;
  std::filesystem::path partial_;
};

}  // namespace dualpath
