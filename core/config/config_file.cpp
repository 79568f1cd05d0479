#include "core/config/config_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dualpath {

namespace {

constexpr int patience_ms = 60'000;

class Descriptor {
 public:
  // A pipe without a writer is opened at once, and is then empty.
  explicit Descriptor(const char* path)
      : number_(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

std::string failed(int error) {
  return fmt::format("cannot be read: {}", std::strerror(error));
}

// Waits for more; "" where there is some, or the end.
std::string wait_for_text(int descriptor) {
  pollfd wanted{descriptor, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&wanted, 1, patience_ms);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return failed(errno);
  return ready > 0 ? "" : fmt::format("cannot be read: silent for {} s", patience_ms / 1000);
}

// What is wrong with reading all of it into `text`.
std::string read_all(int descriptor, std::string& text) {
  std::array<char, 1 << 16> piece{};
  while (text.size() <= most_config_bytes) {
    const ssize_t count = ::read(descriptor, piece.data(), piece.size());
    if (count == 0) return "";
    if (count > 0) {
      text.append(piece.data(), static_cast<std::size_t>(count));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (std::string problem = wait_for_text(descriptor); !problem.empty()) return problem;
    } else if (errno != EINTR) {
      return failed(errno);
    }
  }
  return fmt::format("is larger than {} KiB, the most that a configuration may have",
                     most_config_bytes >> 10);
}

}  // namespace

ConfigText read_config_text(const std::filesystem::path& path) {
  ConfigText result;
  const Descriptor file(path.c_str());
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    result.problem = failed(errno);
    return result;
  }
  if (S_ISDIR(status.st_mode)) {
    result.problem = "cannot be read: it is a folder";
    return result;
  }
  result.has_folder = S_ISREG(status.st_mode);
  result.problem = read_all(file.get(), result.text);
  if (!result.problem.empty()) result.text.clear();
  return result;
}

}  // namespace dualpath
