// The safetensors layout: u64 length of the header, the header in JSON, the tensors' elements,
// little-endian, without gaps. All failures are Error(checkpoint) and name the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dualpath {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", …
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;  // bytes [begin, end) of the file
  std::int64_t end = 0;
};

// The tensors of a file, in the order of their bytes. Refuses a file whose header is damaged, whose
// tensors overlap, leave gaps or do not have the sizes of their shapes, or which is cut off.
std::vector<SafetensorsEntry> read_safetensors_header(const std::filesystem::path& path);

struct SafetensorsTensor {
  std::string name;
  std::string_view dtype;
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};
// What stands before the elements of these tensors, in their order.
std::string print_safetensors_header(std::span<const SafetensorsTensor> tensors);

}  // namespace dualpath
