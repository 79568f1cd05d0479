#include "data/file_io.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>
#include <xxhash.h>

#include "data/mapped_file_guard.h"

namespace dualpath {

namespace {

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, ExitCode code)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    CHECK_AS(code, fd_ >= 0, "{}: cannot be opened: {}", path, std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  operator int() const { return fd_; }

 private:
  int fd_;
};

// Hands the file's bytes to use(span) block by block.
template <class Use>
void for_each_block(const std::string& path, ExitCode code, Use use) {
  const Descriptor file(path, O_RDONLY, code);
  std::vector<std::byte> block(std::size_t{4} << 20);
  for (;;) {
    const ssize_t count = ::read(file, block.data(), block.size());
    CHECK_AS(code, count >= 0 || errno == EINTR, "{}: cannot be read: {}", path,
             std::strerror(errno));
    if (count == 0) return;
    if (count > 0) use(std::span(block).first(static_cast<std::size_t>(count)));
  }
}

}  // namespace

std::string read_file(const std::string& path, ExitCode code) {
  std::string content;
  for_each_block(path, code, [&](std::span<const std::byte> block) {
    content.append(reinterpret_cast<const char*>(block.data()), block.size());
  });
  return content;
}

void make_folder(const std::string& path, ExitCode code) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  CHECK_AS(code, !error, "{}: cannot be created: {}", path, error.message());
}

void remove_tree(const std::string& path, ExitCode code) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  CHECK_AS(code, !error, "{}: cannot be removed: {}", path, error.message());
}

void sync_path(const std::string& path, ExitCode code) {
  const Descriptor file(path, O_RDONLY, code);
  CHECK_AS(code, ::fsync(file) == 0, "{}: cannot be flushed to disk: {}", path,
           std::strerror(errno));
}

void publish(const std::string& temporary, const std::string& final_name, ExitCode code) {
  sync_path(temporary, code);
  CHECK_AS(code, std::rename(temporary.c_str(), final_name.c_str()) == 0,
           "{}: cannot be renamed to {}: {}", temporary, final_name, std::strerror(errno));
  const std::filesystem::path parent = std::filesystem::path(final_name).parent_path();
  sync_path(parent.empty() ? "." : parent.string(), code);
}

void write_file(const std::string& path, std::string_view text, ExitCode code) {
  const std::string temporary = path + ".partial";
  {
    const Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC, code);
    while (!text.empty()) {
      const ssize_t written = ::write(file, text.data(), text.size());
      CHECK_AS(code, written > 0 || errno == EINTR, "{}: cannot be written: {}", temporary,
               std::strerror(errno));
      if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  publish(temporary, path, code);
}

Checksum::Checksum() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr, "no memory for a checksum");
  XXH3_64bits_reset(state_.get());
}

void Checksum::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
}

std::uint64_t Checksum::value() const {
  return XXH3_64bits_digest(state_.get());
}

void Checksum::Free::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

FileDigest digest_file(const std::string& path, ExitCode code) {
  Checksum checksum;
  FileDigest digest;
  for_each_block(path, code, [&](std::span<const std::byte> block) {
    checksum.add(block);
    digest.bytes += static_cast<std::int64_t>(block.size());
  });
  digest.xxh3 = checksum.value();
  return digest;
}

MappedFile::MappedFile(const std::string& path, ExitCode code) {
  const Descriptor file(path, O_RDONLY, code);
  struct stat status {};
  CHECK_AS(code, ::fstat(file, &status) == 0 && S_ISREG(status.st_mode), "{}: not a regular file",
           path);
  if (status.st_size == 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  CHECK_AS(code, data != MAP_FAILED, "{}: cannot be mapped: {}", path, std::strerror(errno));
  data_ = static_cast<const std::byte*>(data);
  size_ = size;
  guard_mapping(bytes(), path, code);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  unguard_mapping(bytes());
  ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace dualpath
