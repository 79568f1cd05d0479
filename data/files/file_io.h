// What lies at a path; files that appear whole or not at all, checksums, and read-only mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"

struct XXH3_state_s;

namespace dualpath {

// What lies at a path, whatever links lead there. Where the disk does not tell, these throw
// Error(code), which names the path: "cannot be looked at" is not "there is none".
[[nodiscard]] bool path_exists(const std::string& path, ExitCode code);  // a link to nothing: no
[[nodiscard]] bool is_folder(const std::string& path, ExitCode code);
[[nodiscard]] bool is_regular_file(const std::string& path, ExitCode code);
std::int64_t file_bytes(const std::string& path, ExitCode code);
// What a folder holds, sorted.
std::vector<std::string> names_in(const std::string& folder, ExitCode code);
std::filesystem::path working_folder(ExitCode code);
std::filesystem::path absolute_path(const std::filesystem::path& path, ExitCode code);

// Far above any file that is read whole, but for metrics; far below a machine's memory.
inline constexpr std::int64_t max_text_bytes = std::int64_t{256} << 20;

// A regular file's content. Refuses at once whatever else may bear the name (a fifo, a device), and
// a file of more than max_bytes.
[[nodiscard]] std::string read_file(const std::string& path, ExitCode code,
                                    std::int64_t max_bytes = max_text_bytes);
// Bytes [offset, offset + bytes) of a file, which must have them.
std::string read_part(const std::string& path, std::int64_t offset, std::int64_t bytes,
                      ExitCode code);
// With missing parents; one that exists is fine.
void make_folder(const std::string& path, ExitCode code);
// A file, or a folder with all in it; one that does not exist is fine.
void remove_tree(const std::string& path, ExitCode code);

// Flushes a file's or a folder's content to the disk.
void sync_path(const std::string& path, ExitCode code);

// fsync, rename, fsync of the parent: whatever bears the final name is complete. Both names lie
// in one folder.
void publish(const std::string& temporary, const std::string& final_name, ExitCode code);

// Writes a small file and publishes it under its name. Where that fails, nothing is left of it.
void write_file(const std::string& path, std::string_view text, ExitCode code);

// XXH3, 64 bits.
class Checksum {
 public:
  Checksum();
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const;  // of all bytes added so far

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};
std::uint64_t checksum_of(std::span<const std::byte> bytes);

// Text with a last line, "xxh3: HASH", of all before it, so that any change is noticed; the text
// before that line, which throws Error(code) naming `source` where the line does not belong to it.
std::string with_checksum(std::string text);
[[nodiscard]] std::string without_checksum(const std::string& text, const std::string& source,
                                           ExitCode code);

struct FileDigest {
  std::int64_t bytes = 0;
  std::uint64_t xxh3 = 0;
  bool operator==(const FileDigest&) const = default;
};
// Reads the file in blocks, so that a bad disk is an Error and not the end of a mapping.
FileDigest digest_file(const std::string& path, ExitCode code);

// Bytes [begin, end) of a file.
struct FilePart {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};
// The same, and in the same pass the checksum of each part as far as the file has it.
// REQUIRES: parts in ascending order, none begins before the one before it ends.
FileDigest digest_file(const std::string& path, std::span<const FilePart> parts,
                       std::span<std::uint64_t> checksums, ExitCode code);

// A whole file mapped read-only. Reading what has been cut off meanwhile ends the process with
// `code` (mapped_file_guard.h).
class MappedFile {
 public:
  MappedFile(const std::string& path, ExitCode code);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dualpath
