// Files that appear whole or not at all, checksums, and read-only mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

struct XXH3_state_s;

namespace dualpath {

// Flushes a file's or a folder's content to the disk.
void sync_path(const std::string& path, ExitCode code);

// fsync, rename, fsync of the parent: whatever bears the final name is complete. Both names lie
// in one folder.
void publish(const std::string& temporary, const std::string& final_name, ExitCode code);

// Writes a small file and publishes it under its name.
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

// A whole file mapped read-only. The file must not be shortened while it is mapped.
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
