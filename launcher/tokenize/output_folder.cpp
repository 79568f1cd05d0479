#include "launcher/tokenize/output_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>

#include "data/files/file_io.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* new_name = "new";  // in the work folder: what is being written
constexpr const char* old_name = "old";  // what it replaces, while neither bears the final name

fs::path prefix_of(const fs::path& name) {
  return fmt::format("{}.partial-", name.string());
}

// No rename can replace it.
bool is_mount_point(const fs::path& folder) {
  struct stat own {
  }, parent{};
  return ::stat(folder.c_str(), &own) == 0 && ::stat((folder / "..").c_str(), &parent) == 0 &&
         (own.st_dev != parent.st_dev || own.st_ino == parent.st_ino);
}

// In one instant; false where the file system cannot.
bool exchange(const fs::path& a, const fs::path& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

// Completes a replacement that was cut short between its two renames. Removes nothing.
void restore(const fs::path& old, const fs::path& name, std::vector<std::string>& told) {
  if (!path_exists(old, ExitCode::data) || path_exists(name, ExitCode::data)) return;
  publish(old.string(), name.string(), ExitCode::data);
  told.push_back(fmt::format("{} is restored from {}: replacing it was cut short", name.string(),
                             old.string()));
}

}  // namespace

// A link stays where it is; what it leads to need not exist.
fs::path output_path(const std::string& name) {
  constexpr int most_links = 40;  // of one path, as the kernel has it
  fs::path path = fs::path(name + "/").lexically_normal().parent_path();
  for (int i = 0; i < most_links; ++i) {
    std::error_code none;
    const fs::path target = fs::read_symlink(path, none);
    if (none) return path;
    path = (path.parent_path() / target / "").lexically_normal().parent_path();
  }
  DUALPATH_FAIL(ExitCode::data, "{}: too many symbolic links", name);
}

OutputFolder::OutputFolder(const std::string& name)
    : name_(output_path(name)),
      work_(prefix_of(name_), ExitCode::data),
      partial_(work_.path() / new_name) {
  CHECK_AS(ExitCode::data, !is_mount_point(name_),
           "{}: a file system is mounted here, which no result can replace; choose a folder in it",
           name_.string());
  make_folder(partial_.string(), ExitCode::data);
}

void OutputFolder::finish() {
  if (!path_exists(name_, ExitCode::data)) {
    publish(partial_.string(), name_.string(), ExitCode::data);
    return;
  }
  CHECK_AS(ExitCode::data, is_folder(name_, ExitCode::data),
           "{}: is no folder, and will not be replaced", name_.string());
  sync_path(partial_.string(), ExitCode::data);
  if (exchange(partial_, name_)) {
    sync_path((name_ / "..").string(), ExitCode::data);
    return;
  }
  const fs::path old = work_.path() / old_name;
  publish(name_.string(), old.string(), ExitCode::data);
  try {
    publish(partial_.string(), name_.string(), ExitCode::data);
  } catch (const Error&) {
    std::error_code failure;
    fs::rename(old, name_, failure);
    if (failure) work_.abandon();  // clear_leftovers() tries again
    throw;
  }
}

std::vector<std::string> clear_leftovers(const std::string& name) {
  const fs::path path = output_path(name);
  std::vector<std::string> told;
  const AbandonedFolders found = remove_abandoned(
      prefix_of(path), [&](const fs::path& folder) { restore(folder / old_name, path, told); });
  for (const fs::path& folder : found.removed)
    told.push_back(fmt::format("{} is removed: its process was killed", folder.string()));
  for (const fs::path& folder : found.in_use)
    told.push_back(fmt::format("{} is left: another process is writing it", folder.string()));
  return told;
}

}  // namespace dualpath
