#include "data/files/file_io.h"

#include <algorithm>
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

#include "data/files/mapped_file_guard.h"

namespace dualpath {

namespace {

class Descriptor {
 public:
  // Without O_NONBLOCK, opening a fifo would wait for its other end.
  Descriptor(const std::string& path, int flags, ExitCode code)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666)) {
    CHECK_AS(code, fd_ >= 0, "{}: cannot be opened: {}", path, std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) (void)::close(fd_);
  }
  operator int() const { return fd_; }
  // To be called after writing: some file systems tell only here that it has failed.
  void close(const std::string& path, ExitCode code) {
    CHECK_AS(code, ::close(std::exchange(fd_, -1)) == 0 || errno == EINTR,
             "{}: cannot be written: {}", path, std::strerror(errno));
  }

 private:
  int fd_;
};

constexpr std::size_t block_bytes = std::size_t{1} << 20;

// A regular file that is open for reading.
class RegularFile {
 public:
  RegularFile(const std::string& path, ExitCode code)
      : path_(path), code_(code), file_(path, O_RDONLY, code) {
    struct stat status {};
    CHECK_AS(code, ::fstat(file_, &status) == 0, "{}: cannot be read: {}", path,
             std::strerror(errno));
    CHECK_AS(code, S_ISREG(status.st_mode), "{}: is not a regular file", path);
    bytes_ = status.st_size;
  }
  std::int64_t bytes() const { return bytes_; }
  operator int() const { return file_; }

  // As many of the bytes at `offset` as the file has.
  std::size_t read(std::int64_t offset, std::span<std::byte> out) const {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = ::pread(file_, out.data() + done, out.size() - done,
                                    static_cast<off_t>(offset) + static_cast<off_t>(done));
      CHECK_AS(code_, count >= 0 || errno == EINTR, "{}: cannot be read: {}", path_,
               std::strerror(errno));
      if (count == 0) break;
      if (count > 0) done += static_cast<std::size_t>(count);
    }
    return done;
  }

  // Hands the bytes to use(offset, span) block by block.
  template <class Use>
  void for_each_block(Use use) const {
    std::vector<std::byte> block(std::min(block_bytes, static_cast<std::size_t>(bytes_) + 1));
    for (std::int64_t offset = 0;;) {
      const std::size_t count = read(offset, block);
      if (count > 0) use(offset, std::span<const std::byte>(block).first(count));
      if (count < block.size()) return;
      offset += static_cast<std::int64_t>(count);
    }
  }

 private:
  std::string path_;
  ExitCode code_;
  Descriptor file_;
  std::int64_t bytes_ = 0;
};

void write_all(const std::string& path, std::string_view text, ExitCode code) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC, code);
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    CHECK_AS(code, written > 0 || errno == EINTR, "{}: cannot be written: {}", path,
             std::strerror(errno));
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  file.close(path, code);
}

// The checksums of a file's parts, from its blocks in ascending order.
class PartChecksums {
 public:
  PartChecksums(std::span<const FilePart> parts, std::span<std::uint64_t> checksums)
      : parts_(parts), checksums_(checksums) {}

  void add(std::int64_t offset, std::span<const std::byte> block) {
    const std::int64_t block_end = offset + std::ssize(block);
    while (part_ < parts_.size() && parts_[part_].begin < block_end) {
      const FilePart& part = parts_[part_];
      const std::int64_t begin = std::max(part.begin, offset);
      const std::int64_t end = std::min(part.end, block_end);
      checksum_.add(block.subspan(static_cast<std::size_t>(begin - offset),
                                  static_cast<std::size_t>(end - begin)));
      if (part.end > block_end) return;
      end_part();
    }
  }
  void finish() {
    while (part_ < parts_.size()) end_part();
  }

 private:
  void end_part() {
    checksums_[part_++] = checksum_.value();
    checksum_ = Checksum();
  }

  std::span<const FilePart> parts_;
  std::span<std::uint64_t> checksums_;
  std::size_t part_ = 0;
  Checksum checksum_;
};

std::filesystem::file_status status_of(const std::string& path, ExitCode code) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  CHECK_AS(code, status.type() != std::filesystem::file_type::none, "{}: cannot be looked at: {}",
           path, error.message());
  return status;
}

std::string checksum_line(std::string_view text) {
  return fmt::format("xxh3: {:016x}\n", checksum_of(std::as_bytes(std::span(text))));
}

}  // namespace

bool path_exists(const std::string& path, ExitCode code) {
  return std::filesystem::exists(status_of(path, code));
}

bool is_folder(const std::string& path, ExitCode code) {
  return std::filesystem::is_directory(status_of(path, code));
}

bool is_regular_file(const std::string& path, ExitCode code) {
  return std::filesystem::is_regular_file(status_of(path, code));
}

std::int64_t file_bytes(const std::string& path, ExitCode code) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  CHECK_AS(code, !error, "{}: cannot be looked at: {}", path, error.message());
  return static_cast<std::int64_t>(bytes);
}

std::vector<std::string> names_in(const std::string& folder, ExitCode code) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  CHECK_AS(code, !error, "{}: cannot be listed: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::filesystem::path working_folder(ExitCode code) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::current_path(error);
  CHECK_AS(code, !error, "the working folder cannot be told: {}", error.message());
  return folder;
}

std::filesystem::path absolute_path(const std::filesystem::path& path, ExitCode code) {
  return path.is_absolute() ? path : working_folder(code) / path;
}

std::string read_file(const std::string& path, ExitCode code, std::int64_t max_bytes) {
  const RegularFile file(path, code);
  std::string content;
  file.for_each_block([&](std::int64_t offset, std::span<const std::byte> block) {
    const std::int64_t bytes = std::max(file.bytes(), offset + std::ssize(block));
    CHECK_AS(code, bytes <= max_bytes, "{}: has {} bytes, more than the {} that it may have", path,
             bytes, max_bytes);
    content.append(reinterpret_cast<const char*>(block.data()), block.size());
  });
  return content;
}

std::string read_part(const std::string& path, std::int64_t offset, std::int64_t bytes,
                      ExitCode code) {
  const RegularFile file(path, code);
  CHECK_AS(code, 0 <= offset && 0 <= bytes && offset <= file.bytes() - bytes,
           "{}: has {} bytes, of which [{}, {}) are wanted", path, file.bytes(), offset,
           offset + bytes);
  std::string content(static_cast<std::size_t>(bytes), '\0');
  const std::size_t count = file.read(offset, std::as_writable_bytes(std::span(content)));
  CHECK_AS(code, count == content.size(), "{}: was shortened while it was read", path);
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
  try {
    write_all(temporary, text, code);
    publish(temporary, path, code);
  } catch (const Error&) {
    (void)::unlink(temporary.c_str());
    throw;
  }
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

std::string with_checksum(std::string text) {
  return text += checksum_line(text);
}

std::string without_checksum(const std::string& text, const std::string& source, ExitCode code) {
  const std::size_t size = text.size() - std::min(text.size(), checksum_line("").size());
  std::string before = text.substr(0, size);
  CHECK_AS(code, text.substr(size) == checksum_line(before),
           "{}: is damaged (truncated or changed since it was written)", source);
  return before;
}

FileDigest digest_file(const std::string& path, ExitCode code) {
  return digest_file(path, {}, {}, code);
}

FileDigest digest_file(const std::string& path, std::span<const FilePart> parts,
                       std::span<std::uint64_t> checksums, ExitCode code) {
  Checksum whole;
  PartChecksums of_parts(parts, checksums);
  FileDigest digest;
  RegularFile(path, code)
      .for_each_block([&](std::int64_t offset, std::span<const std::byte> block) {
        whole.add(block);
        of_parts.add(offset, block);
        digest.bytes += std::ssize(block);
      });
  of_parts.finish();
  digest.xxh3 = whole.value();
  return digest;
}

MappedFile::MappedFile(const std::string& path, ExitCode code) {
  const RegularFile file(path, code);
  if (file.bytes() == 0) return;
  const auto size = static_cast<std::size_t>(file.bytes());
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
