// A file read from its beginning, decompressed on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace dualpath {

// All errors, a compressed file that is cut short among them, are Error(data) with the file's name.
class InputFile {
 public:
  virtual ~InputFile() = default;
  // The next bytes; as many as `out` holds, except at the end. 0: the end.
  virtual std::size_t read(std::span<char> out) = 0;
  // How far reading has come in the file as it is stored.
  virtual std::uint64_t stored_bytes_read() const = 0;
};

// By the name: .gz and .dz are gzip, .zst is Zstandard, all else is read as it is.
std::unique_ptr<InputFile> open_input_file(const std::filesystem::path& path);

// The name without .gz, .dz or .zst.
std::filesystem::path without_compression(const std::filesystem::path& path);

}  // namespace dualpath
