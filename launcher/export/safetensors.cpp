#include "launcher/export/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

static_assert(std::endian::native == std::endian::little, "elements are read as they lie");

constexpr std::int64_t length_bytes = 8;
constexpr std::int64_t max_header_bytes = 100'000'000;  // as the format's own library has it
constexpr const char* metadata_key = "__metadata__";

// Bytes of an element; 0: of no type that the format knows.
std::int64_t element_bytes(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  return dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype.starts_with("F8_") ? 1 : 0;
}

std::int64_t read_header_bytes(const std::string& path, std::int64_t file_size) {
  CHECK_AS(ExitCode::checkpoint, file_size >= length_bytes,
           "{}: has {} bytes, too few for a safetensors file", path, file_size);
  std::uint64_t length = 0;
  std::memcpy(&length, read_part(path, 0, length_bytes, ExitCode::checkpoint).data(),
              sizeof length);
  CHECK_AS(
      ExitCode::checkpoint,
      length <= max_header_bytes && static_cast<std::int64_t>(length) <= file_size - length_bytes,
      "{}: its header should have {} bytes, but the file has {}: damaged, cut off, or no "
      "safetensors file",
      path, length, file_size);
  return static_cast<std::int64_t>(length);
}

// JSON keeps the last of several members of one name: here that is damage.
nlohmann::json parse_header(const std::string& path, const std::string& text) {
  std::set<std::string> names;
  std::string twice;
  const auto note = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names.insert(name).second) twice = name;
    }
    return true;
  };
  nlohmann::json header = nlohmann::json::parse(text, note, /*allow_exceptions=*/false);
  CHECK_AS(ExitCode::checkpoint, header.is_object(), "{}: its header is no JSON object", path);
  CHECK_AS(ExitCode::checkpoint, twice.empty(), "{}: two tensors are called {}", path, twice);
  return header;
}

// The numbers of a list, if it is one of whole numbers that are not negative.
bool read_numbers(const nlohmann::json& list, std::vector<std::int64_t>& numbers) {
  if (!list.is_array()) return false;
  for (const nlohmann::json& item : list) {
    if (!item.is_number_unsigned() ||
        item.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max())
      return false;
    numbers.push_back(item.get<std::int64_t>());
  }
  return true;
}

// The bytes that elements of the shape take; -1 where the number is too large.
std::int64_t bytes_of_shape(const SafetensorsEntry& entry) {
  std::int64_t bytes = element_bytes(entry.dtype);
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

SafetensorsEntry parse_entry(const std::string& path, const std::string& name,
                             const nlohmann::json& json) {
  SafetensorsEntry entry;
  entry.name = name;
  std::vector<std::int64_t> offsets;
  const bool is_entry = json.is_object() && json.contains("dtype") && json["dtype"].is_string() &&
                        json.contains("shape") && read_numbers(json["shape"], entry.shape) &&
                        json.contains("data_offsets") &&
                        read_numbers(json["data_offsets"], offsets) && offsets.size() == 2 &&
                        offsets[0] <= offsets[1];
  CHECK_AS(ExitCode::checkpoint, is_entry,
           "{}: the header of tensor {} is damaged; it needs dtype, shape and data_offsets", path,
           name);
  entry.dtype = json["dtype"].get<std::string>();
  entry.begin = offsets[0];
  entry.end = offsets[1];
  CHECK_AS(ExitCode::checkpoint, element_bytes(entry.dtype) > 0,
           "{}: tensor {} is of the unknown type {}", path, name, entry.dtype);
  CHECK_AS(ExitCode::checkpoint, bytes_of_shape(entry) == entry.end - entry.begin,
           "{}: tensor {} has {} bytes, which its shape and type {} do not give", path, name,
           entry.end - entry.begin, entry.dtype);
  return entry;
}

// The tensors fill the file behind its header, each byte once.
void check_layout(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                  std::int64_t data_bytes) {
  std::int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    CHECK_AS(ExitCode::checkpoint, entry.begin >= end, "{}: tensor {} overlaps the one before it",
             path, entry.name);
    CHECK_AS(ExitCode::checkpoint, entry.begin == end,
             "{}: {} bytes before tensor {} belong to none", path, entry.begin - end, entry.name);
    end = entry.end;
  }
  CHECK_AS(ExitCode::checkpoint, end <= data_bytes,
           "{}: is cut off: its tensors need {} bytes more", path, end - data_bytes);
  CHECK_AS(ExitCode::checkpoint, end == data_bytes, "{}: {} bytes at its end belong to no tensor",
           path, data_bytes - end);
}

}  // namespace

std::vector<SafetensorsEntry> read_safetensors_header(const std::filesystem::path& path) {
  const std::string name = path.string();
  CHECK_AS(ExitCode::checkpoint, is_regular_file(name, ExitCode::checkpoint), "{}: no such file",
           name);
  const std::int64_t file_size = file_bytes(name, ExitCode::checkpoint);
  const std::int64_t length = read_header_bytes(name, file_size);
  const nlohmann::json header =
      parse_header(name, read_part(name, length_bytes, length, ExitCode::checkpoint));
  std::vector<SafetensorsEntry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key != metadata_key) entries.push_back(parse_entry(name, key, value));
  }
  std::ranges::stable_sort(entries, {},
                           [](const SafetensorsEntry& e) { return std::pair(e.begin, e.end); });
  const std::int64_t data_begin = length_bytes + length;
  check_layout(name, entries, file_size - data_begin);
  for (SafetensorsEntry& entry : entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return entries;
}

std::string print_safetensors_header(std::span<const SafetensorsTensor> tensors) {
  nlohmann::ordered_json header = {{metadata_key, {{"format", "pt"}}}};
  std::int64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes}}};
    offset += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace dualpath
