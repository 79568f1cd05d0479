#include "data/checkpoints/run_lock.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

constexpr std::string_view refusal = " is in use by ";

std::string this_host() {
  char host[HOST_NAME_MAX + 1] = {};
  ::gethostname(host, HOST_NAME_MAX);
  return host;
}

// Its first line is for people.
std::string describe_this_process() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char time[32] = {};
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return fmt::format("process {} on host {} since {}\nparent {}\n", ::getpid(), this_host(), time,
                     ::getppid());
}

// 0 where there is no such process.
long parent_of(long process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string stat;
  std::getline(file, stat);
  const std::size_t name_end = stat.rfind(')');  // "12 (name) S 11 ...": the name may hold anything
  long parent = 0;
  if (name_end == stat.npos || std::sscanf(stat.c_str() + name_end, ") %*c %ld", &parent) != 1)
    return 0;
  return parent;
}

// Whether the lock's holder, as the text describes it, may end by itself soon: an orphan, whose job
// was killed, or a process that cannot be seen from this host.
bool seems_to_be_ending(const std::string& holder) {
  long process = 0, parent = 0;
  char host[HOST_NAME_MAX + 1] = {};
  static_assert(HOST_NAME_MAX == 64);
  if (std::sscanf(holder.c_str(), "process %ld on host %64s", &process, host) != 2) return true;
  if (host != this_host()) return true;
  const std::size_t second_line = holder.find('\n');
  if (second_line == holder.npos ||
      std::sscanf(holder.c_str() + second_line, " parent %ld", &parent) != 1)
    return false;
  return parent_of(process) != parent;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Returns who holds the lock, if it cannot be had; errno is EWOULDBLOCK then, or what went wrong.
std::optional<std::string> take_lock(int descriptor, const std::string& path,
                                     const LockPatience& patience) {
  using Clock = std::chrono::steady_clock;
  const auto waited = [start = Clock::now()] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  constexpr double moment = 0.1;  // is_run_locked() may be looking, or the holder be new
  for (bool told = false;;) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return "";
    const std::string holder = read_file(path, ExitCode::checkpoint);
    const bool may_end = waited() < moment || seems_to_be_ending(holder);
    if (!may_end || waited() > std::max(moment, patience.seconds)) {
      errno = EWOULDBLOCK;
      return first_line(holder);
    }
    if (waited() > moment && !std::exchange(told, true))
      patience.tell(fmt::format("{}: waiting up to {:.0f} s for {}, which seems to be ending", path,
                                patience.seconds, first_line(holder)));
    ::usleep(20'000);
  }
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_folder, const LockPatience& patience) {
  make_folder(run_folder, ExitCode::checkpoint);
  const std::filesystem::path path = run_folder / ".lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  CHECK_AS(ExitCode::checkpoint, descriptor_ >= 0, "{}: cannot be opened: {}", path.string(),
           std::strerror(errno));
  if (const auto other = take_lock(descriptor_, path, patience)) {
    const int reason = errno;
    ::close(descriptor_);
    CHECK_AS(ExitCode::checkpoint, reason == EWOULDBLOCK, "{}: cannot be locked: {}", path.string(),
             std::strerror(reason));
    DUALPATH_FAIL(ExitCode::checkpoint, "run folder {}{}{}", run_folder.string(), refusal, *other);
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
