#include "launcher/common/work_folder.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "data/files/file_io.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* lock_name = ".work-lock";
constexpr std::size_t suffix_length = 6;  // mkdtemp's

fs::path folder_of(const fs::path& prefix) {
  return prefix.has_parent_path() ? prefix.parent_path() : ".";
}

// -1: there is none, or it may not be written.
int open_lock(const fs::path& folder, int flags) {
  return ::open((folder / lock_name).c_str(), O_RDWR | O_CLOEXEC | flags, 0666);
}

// How many names the open file bears; -1: the disk does not tell.
std::int64_t num_names(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 ? static_cast<std::int64_t>(status.st_nlink) : -1;
}

// The lock last, when all else is gone: what is left is still known as a work folder, and is
// removed by a later remove_abandoned(). Whether nothing is left.
bool remove_work(const fs::path& folder) {
  bool is_empty = true;
  const auto remove = [&](const fs::path& path) {
    std::error_code error;
    fs::remove_all(path, error);
    is_empty &= !error;
  };
  try {
    for (const std::string& name : names_in(folder, ExitCode::data)) {
      if (name != lock_name) remove(folder / name);
    }
  } catch (const Error&) {
    return false;
  }
  if (is_empty) remove(folder / lock_name);
  if (is_empty) remove(folder);
  return is_empty;
}

bool is_work_name(const std::string& name, const std::string& prefix) {
  return name.size() == prefix.size() + suffix_length && name.starts_with(prefix) &&
         std::all_of(name.end() - suffix_length, name.end(),
                     [](unsigned char c) { return std::isalnum(c); });
}

enum class Owner { gone, alive, none };

// gone: it is removed. none: no work folder, one that has just been made or removed, or one that
// cannot be removed.
Owner take_over(const fs::path& folder, const std::function<void(const fs::path& folder)>& rescue) {
  const int lock = open_lock(folder, 0);
  if (lock < 0) {
    // Made a moment ago, or by a process that was killed in that moment.
    if (errno == ENOENT) ::rmdir(folder.c_str());
    return Owner::none;
  }
  Owner owner = Owner::none;
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    owner = Owner::alive;
  } else if (num_names(lock) > 0) {
    try {
      if (rescue) rescue(folder);
    } catch (...) {
      ::close(lock);
      throw;
    }
    if (remove_work(folder)) owner = Owner::gone;
  }
  ::close(lock);
  return owner;
}

}  // namespace

// Another process may take the folder for abandoned before it is locked; then another is made.
WorkFolder::WorkFolder(const fs::path& prefix, ExitCode code) {
  std::error_code error;
  fs::create_directories(folder_of(prefix), error);
  CHECK_AS(code, !error, "{}: cannot be created: {}", prefix.string() + "xxxxxx", error.message());
  while (true) {
    std::string name = prefix.string() + "XXXXXX";
    CHECK_AS(code, ::mkdtemp(name.data()) != nullptr, "{}: cannot be created: {}", name,
             std::strerror(errno));
    path_ = name;
    lock_ = open_lock(path_, O_CREAT);
    std::int64_t names = lock_ >= 0 ? 0 : -1;
    if (lock_ >= 0 && (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK))
      names = num_names(lock_);
    const int reason = errno;
    if (names > 0) return;
    if (lock_ >= 0) ::close(lock_);
    remove_work(path_);
    CHECK_AS(code, names == 0 || reason == ENOENT, "{}: cannot be created: {}",
             (path_ / lock_name).string(), std::strerror(reason));
  }
}

WorkFolder::~WorkFolder() {
  if (!abandoned_) remove_work(path_);
  ::close(lock_);
}

AbandonedFolders remove_abandoned(const fs::path& prefix,
                                  const std::function<void(const fs::path& folder)>& rescue) {
  AbandonedFolders found;
  std::error_code error;
  std::vector<fs::path> folders;
  for (fs::directory_iterator entry(folder_of(prefix), error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;
    if (is_work_name(entry->path().filename(), prefix.filename()) &&
        fs::is_directory(entry->symlink_status(unknown)))
      folders.push_back(entry->path());
  }
  std::sort(folders.begin(), folders.end());
  for (const fs::path& folder : folders) {
    const Owner owner = take_over(folder, rescue);
    if (owner == Owner::gone) found.removed.push_back(folder);
    if (owner == Owner::alive) found.in_use.push_back(folder);
  }
  return found;
}

}  // namespace dualpath
