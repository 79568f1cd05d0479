// To be preloaded (LD_PRELOAD) into a program: lets chosen calls on files below one folder fail, as
// a bad disk, a full one or a lost server would. What the environment says:
//
//   FAULT_ROOT       absolute path without links; only calls on what begins with it are counted
//   FAULT_OPERATION  names of Operation, with commas between: which calls are numbered and fail
//   FAULT_AT         the number, from 1, of the call that fails; 0 or unset: none
//   FAULT_KIND       EIO, ENOSPC, EDQUOT, EACCES: that error; short: half of the bytes are moved;
//                    full: half of the bytes are written, and ENOSPC from then on
//   FAULT_AFTER      1: every later such call fails too
//   FAULT_RANK       of an MPI job, only this rank's calls count
//   FAULT_LOG        file to which each call adds a line: operation, path, " failed" if it did
//   FAULT_CLOCK      seconds since 1970: what gettimeofday() and time() answer. HDF5 files
//                    hold times; with it, equal contents are equal files
//
// A close that fails loses the last byte of what was written and not flushed to disk since, as the
// close of a file on a server may. A flush that does not fail flushes nothing: the machine goes on.
//
// Streams of the C library call the kernel from within, where nothing can come between. fopen() of
// a file below the root therefore returns a stream whose reads and writes come here; such a stream
// has no descriptor. libstdc++ opens its own with fopen64(), then calls read(), write() and
// writev().
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

enum class Operation {
  open,    // of what is there
  create,  // open with O_CREAT
  read,
  write,
  sync,
  close,
  rename,
  mkdir,
  remove,
  truncate,
  map,
  list,
  stat,
  lock
};
constexpr const char* operation_names[] = {"open",  "create", "read",  "write",  "sync",
                                           "close", "rename", "mkdir", "remove", "truncate",
                                           "map",   "list",   "stat",  "lock"};

enum class Outcome { passes, fails, is_short };

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int error_number(const std::string& kind) {
  if (kind == "ENOSPC" || kind == "full") return ENOSPC;
  if (kind == "EDQUOT") return EDQUOT;
  if (kind == "EACCES") return EACCES;
  return EIO;
}

struct Settings {
  std::string root = variable("FAULT_ROOT");
  std::string kind = variable("FAULT_KIND");
  std::string log = variable("FAULT_LOG");
  int error = error_number(kind);
  long at = std::atol(variable("FAULT_AT"));
  long clock = std::atol(variable("FAULT_CLOCK"));
  bool after = *variable("FAULT_AFTER") == '1';
  bool numbered[std::size(operation_names)] = {};

  Settings() {
    std::istringstream names(variable("FAULT_OPERATION"));
    for (std::string name; std::getline(names, name, ',');) {
      for (std::size_t i = 0; i < std::size(operation_names); ++i)
        numbered[i] = numbered[i] || name == operation_names[i];
    }
    const std::string rank = variable("FAULT_RANK");
    if (!rank.empty() && rank != variable("OMPI_COMM_WORLD_RANK")) root.clear();
  }
};

// Never destroyed: files are closed until the very end of the process.
const Settings& settings() {
  static const Settings& instance = *new Settings;
  return instance;
}

std::string path_of(int descriptor) {
  char target[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  return {target, size > 0 ? static_cast<std::size_t>(size) : 0};
}

std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  char buffer[4096];
  const char* const here = folder == AT_FDCWD ? ::getcwd(buffer, sizeof buffer) : nullptr;
  const std::string base = folder != AT_FDCWD ? path_of(folder) : here == nullptr ? "" : here;
  return std::filesystem::path(base + '/' + path).lexically_normal().string();
}

void log_call(Operation operation, const std::string& path, Outcome outcome) {
  const std::string line = operation_names[static_cast<int>(operation)] + (' ' + path) +
                           (outcome == Outcome::passes ? "\n" : " failed\n");
  const long file = ::syscall(SYS_openat, AT_FDCWD, settings().log.c_str(),
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) return;
  ::syscall(SYS_write, file, line.data(), line.size());
  ::syscall(SYS_close, file);
}

// What this call, which is counted by this, comes to.
Outcome number(Operation operation) {
  static std::atomic<long> count = 0;
  const Settings& s = settings();
  if (!s.numbered[static_cast<int>(operation)]) return Outcome::passes;
  const long n = ++count;
  if (s.at == 0 || n < s.at) return Outcome::passes;
  const bool moves_bytes = operation == Operation::read || operation == Operation::write;
  if (s.kind == "full") return n == s.at && moves_bytes ? Outcome::is_short : Outcome::fails;
  if (n > s.at && !s.after) return Outcome::passes;
  if (s.kind != "short") return Outcome::fails;
  return moves_bytes ? Outcome::is_short : Outcome::passes;
}

// Outcome of a call on a path; sets errno where it fails.
Outcome outcome(Operation operation, const std::string& path) {
  const Settings& s = settings();
  if (!path.starts_with(s.root)) return Outcome::passes;
  const Outcome result = number(operation);
  if (!s.log.empty()) log_call(operation, path, result);
  if (result == Outcome::fails) errno = s.error;
  return result;
}

bool is_active() {
  return !settings().root.empty();
}
bool fails(Operation operation, int folder, const char* path) {
  return is_active() && outcome(operation, absolute(folder, path)) == Outcome::fails;
}
bool fails(Operation operation, const char* path) {
  return fails(operation, AT_FDCWD, path);
}
bool fails(Operation operation, int descriptor) {
  return is_active() && outcome(operation, path_of(descriptor)) == Outcome::fails;
}

// How many of the bytes are moved; nothing: the call fails.
std::optional<std::size_t> allowed(Operation operation, int descriptor, std::size_t bytes) {
  const Outcome result = is_active() ? outcome(operation, path_of(descriptor)) : Outcome::passes;
  if (result == Outcome::fails) return std::nullopt;
  return result == Outcome::is_short && bytes > 1 ? bytes / 2 : bytes;
}

// Descriptors written to since they were last flushed to disk.
std::atomic<bool> unflushed[1 << 16];

void set_unflushed(int descriptor, bool value) {
  if (descriptor >= 0 && descriptor < std::ssize(unflushed)) unflushed[descriptor] = value;
}
ssize_t wrote(int descriptor, ssize_t bytes) {
  if (bytes > 0) set_unflushed(descriptor, true);
  return bytes;
}
int flushed(int descriptor, int result) {
  if (result == 0) set_unflushed(descriptor, false);
  return result;
}

// Whether the close of this descriptor fails; then the file has lost what it loses.
bool close_fails(int descriptor) {
  const bool result = fails(Operation::close, descriptor);
  if (result && descriptor < std::ssize(unflushed) && unflushed[descriptor]) {
    const off64_t size = ::lseek64(descriptor, 0, SEEK_END);
    if (size > 0) ::syscall(SYS_ftruncate, descriptor, size - 1);
  }
  set_unflushed(descriptor, false);
  return result;
}

bool creates(int flags) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}
Operation opening(int flags) {
  return creates(flags) ? Operation::create : Operation::open;
}

int flags_of_mode(const char* mode) {
  const bool updates = std::strchr(mode, '+') != nullptr;
  int flags = mode[0] == 'r' ? 0 : O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
  flags |= updates ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  if (std::strchr(mode, 'e') != nullptr) flags |= O_CLOEXEC;
  return flags;
}

// A stream of the C library over a descriptor, in calls that come here.
int descriptor_of(void* cookie) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(cookie));
}
ssize_t read_cookie(void* cookie, char* out, std::size_t size) {
  return ::read(descriptor_of(cookie), out, size);
}
ssize_t write_cookie(void* cookie, const char* data, std::size_t size) {
  const ssize_t written = ::write(descriptor_of(cookie), data, size);
  return written < 0 ? 0 : written;  // where the C library sees an error of such a stream
}
int seek_cookie(void* cookie, off64_t* offset, int whence) {
  *offset = ::lseek64(descriptor_of(cookie), *offset, whence);
  return *offset < 0 ? -1 : 0;
}
int close_cookie(void* cookie) {
  return ::close(descriptor_of(cookie));
}

}  // namespace

// The function of this name that would be called without this library.
#define REAL(name) \
  static const auto real = reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, #name))

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (creates(flags)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  REAL(open);
  return fails(opening(flags), path) ? -1 : real(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (creates(flags)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return ::open(path, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  mode_t mode = 0;
  if (creates(flags)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  REAL(openat);
  return fails(opening(flags), folder, path) ? -1 : real(folder, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  REAL(fopen);
  if (!is_active() || !absolute(AT_FDCWD, path).starts_with(settings().root))
    return real(path, mode);
  const int descriptor = ::open(path, flags_of_mode(mode), 0666);
  if (descriptor < 0) return nullptr;
  void* const cookie = reinterpret_cast<void*>(static_cast<std::intptr_t>(descriptor));
  return ::fopencookie(cookie, mode, {read_cookie, write_cookie, seek_cookie, close_cookie});
}

FILE* fopen64(const char* path, const char* mode) {
  REAL(fopen64);
  return fails(opening(flags_of_mode(mode)), path) ? nullptr : real(path, mode);
}

int fclose(FILE* file) {
  REAL(fclose);
  const int descriptor = ::fileno(file);
  if (descriptor < 0 || !close_fails(descriptor)) return real(file);
  real(file);
  errno = settings().error;
  return EOF;
}

int close(int descriptor) {
  REAL(close);
  if (!close_fails(descriptor)) return real(descriptor);
  real(descriptor);  // as Linux does
  errno = settings().error;
  return -1;
}

ssize_t read(int descriptor, void* out, size_t size) {
  REAL(read);
  const auto bytes = allowed(Operation::read, descriptor, size);
  return bytes ? real(descriptor, out, *bytes) : -1;
}

ssize_t pread(int descriptor, void* out, size_t size, off_t offset) {
  REAL(pread);
  const auto bytes = allowed(Operation::read, descriptor, size);
  return bytes ? real(descriptor, out, *bytes, offset) : -1;
}

ssize_t pread64(int descriptor, void* out, size_t size, off64_t offset) {
  return ::pread(descriptor, out, size, offset);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  REAL(write);
  const auto bytes = allowed(Operation::write, descriptor, size);
  return bytes ? wrote(descriptor, real(descriptor, data, *bytes)) : -1;
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  REAL(pwrite);
  const auto bytes = allowed(Operation::write, descriptor, size);
  return bytes ? wrote(descriptor, real(descriptor, data, *bytes, offset)) : -1;
}

ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  return ::pwrite(descriptor, data, size, offset);
}

ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  REAL(writev);
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  const auto bytes = allowed(Operation::write, descriptor, size);
  if (!bytes) return -1;
  if (*bytes == size) return wrote(descriptor, real(descriptor, parts, count));
  struct iovec first = parts[0];
  first.iov_len = std::min(first.iov_len, *bytes);
  return wrote(descriptor, real(descriptor, &first, 1));
}

int fsync(int descriptor) {
  return fails(Operation::sync, descriptor) ? -1 : flushed(descriptor, 0);
}

int fdatasync(int descriptor) {
  return fails(Operation::sync, descriptor) ? -1 : flushed(descriptor, 0);
}

int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  return fails(Operation::rename, to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  REAL(renameat);
  return fails(Operation::rename, to_folder, to) ? -1 : real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  REAL(renameat2);
  return fails(Operation::rename, to_folder, to) ? -1
                                                 : real(from_folder, from, to_folder, to, flags);
}

int mkdir(const char* path, mode_t mode) noexcept {
  REAL(mkdir);
  return fails(Operation::mkdir, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char* path, mode_t mode) noexcept {
  REAL(mkdirat);
  return fails(Operation::mkdir, folder, path) ? -1 : real(folder, path, mode);
}

int unlink(const char* path) noexcept {
  REAL(unlink);
  return fails(Operation::remove, path) ? -1 : real(path);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  REAL(unlinkat);
  return fails(Operation::remove, folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char* path) noexcept {
  REAL(rmdir);
  return fails(Operation::remove, path) ? -1 : real(path);
}

int remove(const char* path) noexcept {
  REAL(remove);
  return fails(Operation::remove, path) ? -1 : real(path);
}

int truncate(const char* path, off_t size) noexcept {
  REAL(truncate);
  return fails(Operation::truncate, path) ? -1 : real(path, size);
}

int truncate64(const char* path, off64_t size) noexcept {
  return ::truncate(path, size);
}

int ftruncate(int descriptor, off_t size) noexcept {
  REAL(ftruncate);
  return fails(Operation::truncate, descriptor) ? -1 : real(descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) noexcept {
  return ::ftruncate(descriptor, size);
}

int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  REAL(fallocate);
  return fails(Operation::truncate, descriptor) ? -1 : real(descriptor, mode, offset, size);
}

// Returns the error instead of setting errno.
int posix_fallocate(int descriptor, off_t offset, off_t size) {
  REAL(posix_fallocate);
  return fails(Operation::truncate, descriptor) ? settings().error : real(descriptor, offset, size);
}

void* mmap(void* address, size_t size, int protection, int flags, int descriptor,
           off_t offset) noexcept {
  REAL(mmap);
  if (descriptor >= 0 && fails(Operation::map, descriptor)) return MAP_FAILED;
  return real(address, size, protection, flags, descriptor, offset);
}

void* mmap64(void* address, size_t size, int protection, int flags, int descriptor,
             off64_t offset) noexcept {
  return ::mmap(address, size, protection, flags, descriptor, offset);
}

DIR* opendir(const char* path) {
  REAL(opendir);
  return fails(Operation::list, path) ? nullptr : real(path);
}

DIR* fdopendir(int descriptor) {
  REAL(fdopendir);
  return fails(Operation::list, descriptor) ? nullptr : real(descriptor);
}

struct dirent* readdir(DIR* folder) {
  REAL(readdir);
  return fails(Operation::list, ::dirfd(folder)) ? nullptr : real(folder);
}

struct dirent64* readdir64(DIR* folder) {
  REAL(readdir64);
  return fails(Operation::list, ::dirfd(folder)) ? nullptr : real(folder);
}

int stat(const char* path, struct stat* status) noexcept {
  REAL(stat);
  return fails(Operation::stat, path) ? -1 : real(path, status);
}

int stat64(const char* path, struct stat64* status) noexcept {
  REAL(stat64);
  return fails(Operation::stat, path) ? -1 : real(path, status);
}

int lstat(const char* path, struct stat* status) noexcept {
  REAL(lstat);
  return fails(Operation::stat, path) ? -1 : real(path, status);
}

int fstat(int descriptor, struct stat* status) noexcept {
  REAL(fstat);
  return fails(Operation::stat, descriptor) ? -1 : real(descriptor, status);
}

int fstat64(int descriptor, struct stat64* status) noexcept {
  REAL(fstat64);
  return fails(Operation::stat, descriptor) ? -1 : real(descriptor, status);
}

int fstatat(int folder, const char* path, struct stat* status, int flags) noexcept {
  REAL(fstatat);
  return fails(Operation::stat, folder, path) ? -1 : real(folder, path, status, flags);
}

int flock(int descriptor, int operation) noexcept {
  REAL(flock);
  return fails(Operation::lock, descriptor) ? -1 : real(descriptor, operation);
}

int gettimeofday(struct timeval* now, void* zone) noexcept {
  REAL(gettimeofday);
  if (settings().clock == 0) return real(now, zone);
  *now = {settings().clock, 0};
  return 0;
}

time_t time(time_t* now) noexcept {
  REAL(time);
  if (settings().clock == 0) return real(now);
  if (now != nullptr) *now = settings().clock;
  return settings().clock;
}

}  // extern "C"
