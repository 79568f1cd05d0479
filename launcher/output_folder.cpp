#include "launcher/output_folder.h"

#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

#include "data/file_io.h"

namespace dualpath {

namespace fs = std::filesystem;

OutputFolder::OutputFolder(const std::string& name)
    : name_(fs::path(name + "/").lexically_normal().parent_path()),  // without a slash at the end
      partial_(fmt::format("{}.partial-{}", name_.string(), ::getpid())) {
  make_folder(partial_, ExitCode::data);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

void OutputFolder::finish() {
  std::error_code error;
  const bool replaces = fs::exists(name_, error);
  const std::string replaced = fmt::format("{}.replaced-{}", name_.string(), ::getpid());
  if (replaces) publish(name_, replaced, ExitCode::data);
  publish(partial_, name_, ExitCode::data);
  if (replaces) remove_tree(replaced, ExitCode::data);
}

}  // namespace dualpath
