// A new, empty folder that is removed with its content.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>

#include "core/base/error.h"

namespace dualpath {

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(testing::TempDir() + "dualpath-XXXXXX") {
    CHECK(::mkdtemp(path_.data()) != nullptr, "{} cannot be made", path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace dualpath
