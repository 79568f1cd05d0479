#include "data/run_lock.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "data/file_io.h"

namespace dualpath {

namespace {

constexpr std::string_view refusal = " is in use by ";

std::string describe_this_process() {
  char host[HOST_NAME_MAX + 1] = {};
  ::gethostname(host, HOST_NAME_MAX);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char time[32] = {};
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return fmt::format("process {} on host {} since {}", ::getpid(), host, time);
}

// Tries for a moment: is_run_locked() may be looking.
bool take_lock(int descriptor) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return false;
    ::usleep(10'000);
  }
  errno = EWOULDBLOCK;
  return false;
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_folder) {
  make_folder(run_folder, ExitCode::checkpoint);
  const std::filesystem::path path = run_folder / ".lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  CHECK_AS(ExitCode::checkpoint, descriptor_ >= 0, "{}: cannot be opened: {}", path.string(),
           std::strerror(errno));
  if (!take_lock(descriptor_)) {
    const int reason = errno;
    ::close(descriptor_);
    CHECK_AS(ExitCode::checkpoint, reason == EWOULDBLOCK, "{}: cannot be locked: {}", path.string(),
             std::strerror(reason));
    DUALPATH_FAIL(ExitCode::checkpoint, "run folder {}{}{}", run_folder.string(), refusal,
                  read_file(path, ExitCode::checkpoint));
  }
  const std::string holder = describe_this_process();
  const bool written = ::ftruncate(descriptor_, 0) == 0 &&
                       ::pwrite(descriptor_, holder.data(), holder.size(), 0) == std::ssize(holder);
  if (!written) {
    const int reason = errno;
    ::close(descriptor_);
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: cannot be written: {}", path.string(),
                  std::strerror(reason));
  }
}

RunLock::~RunLock() {
  ::close(descriptor_);
}

bool is_run_lock_refusal(std::string_view message) {
  return message.find(refusal) != message.npos;
}

bool is_run_locked(const std::filesystem::path& run_folder) {
  const int descriptor = ::open((run_folder / ".lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool is_locked = ::flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(descriptor);
  return is_locked;
}

}  // namespace dualpath
