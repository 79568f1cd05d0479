#include "launcher/work_folder.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

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

// Whether the open file still bears a name.
bool is_linked(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 && status.st_nlink > 0;
}

// The lock last: what is left when this is cut short is still known as a work folder.
void remove_work(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; entry != end;) {
    const fs::path path = entry->path();
    if (path.filename() != lock_name) fs::remove_all(path, ignored);
    if (entry.increment(ignored); ignored) break;
  }
  fs::remove(folder / lock_name, ignored);
  fs::remove(folder, ignored);
}

bool is_work_name(const std::string& name, const std::string& prefix) {
  return name.size() == prefix.size() + suffix_length && name.starts_with(prefix) &&
         std::all_of(name.end() - suffix_length, name.end(),
                     [](unsigned char c) { return std::isalnum(c); });
}

enum class Owner { gone, alive, none };

// none: no work folder, or one that has just been made or removed.
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
  } else if (is_linked(lock)) {
    owner = Owner::gone;
    try {
      if (rescue) rescue(folder);
    } catch (...) {
      ::close(lock);
      throw;
    }
    remove_work(folder);
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
    const int reason = errno;
    if (lock_ >= 0 && (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
        is_linked(lock_))
      return;
    if (lock_ >= 0) ::close(lock_);
    remove_work(path_);
    CHECK_AS(code, lock_ >= 0 || reason == ENOENT, "{}: cannot be created: {}",
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
