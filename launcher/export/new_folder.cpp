#include "launcher/export/new_folder.h"

#include <fmt/format.h>

#include "data/files/file_io.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// Without a slash at its end.
fs::path checked_name(const fs::path& name) {
  fs::path path = absolute_path(name, ExitCode::checkpoint).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (!path_exists(path, ExitCode::checkpoint)) return path;
  CHECK_AS(ExitCode::checkpoint, is_folder(path, ExitCode::checkpoint),
           "{}: is no folder, and will not be replaced", name.string());
  CHECK_AS(ExitCode::checkpoint, names_in(path, ExitCode::checkpoint).empty(),
           "{}: is not empty, and will not be overwritten; choose another folder", name.string());
  return path;
}

fs::path cleared_prefix(const fs::path& name) {
  const fs::path prefix = fmt::format("{}.partial-", name.string());
  remove_abandoned(prefix);
  return prefix;
}

}  // namespace

NewFolder::NewFolder(const fs::path& name)
    : name_(checked_name(name)),
      work_(cleared_prefix(name_), ExitCode::checkpoint),
      partial_(work_.path() / "new") {
  make_folder(partial_, ExitCode::checkpoint);
}

// A rename replaces an empty folder, and no other.
void NewFolder::publish() {
  dualpath::publish(partial_, name_, ExitCode::checkpoint);
}

}  // namespace dualpath
