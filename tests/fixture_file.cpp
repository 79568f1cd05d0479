#include "tests/fixture_file.h"

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace dualpath {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little);

DType dtype_named(const std::string& name, const std::string& path) {
  if (name == "F64") return DType::f64;
  if (name == "F32") return DType::f32;
  CHECK_AS(ExitCode::data, name == "I32", "{}: type {} is not F64, F32 or I32", path, name);
  return DType::i32;
}

Shape shape_of(const json& dims, const std::string& path) {
  switch (dims.size()) {
    case 1:
      return {dims[0]};
    case 2:
      return {dims[0], dims[1]};
    case 3:
      return {dims[0], dims[1], dims[2]};
    default:
      DUALPATH_FAIL(ExitCode::data, "{}: a tensor of {} dimensions", path, dims.size());
  }
}

}  // namespace

FixtureFile::FixtureFile(const std::string& path) : path_(path) {
  std::ifstream file(path, std::ios::binary);
  CHECK_AS(ExitCode::data, file.good(), "{}: cannot be opened", path);
  data_.assign(std::istreambuf_iterator<char>(file), {});

  // u64 length of the header, the header in JSON, the tensors' bytes.
  std::uint64_t header_bytes = 0;
  CHECK_AS(ExitCode::data, data_.size() >= sizeof header_bytes, "{}: too short", path);
  std::memcpy(&header_bytes, data_.data(), sizeof header_bytes);
  data_.erase(0, sizeof header_bytes);
  CHECK_AS(ExitCode::data, header_bytes <= data_.size(), "{}: the header is cut off", path);
  try {
    const json header = json::parse(data_.substr(0, header_bytes));
    data_.erase(0, header_bytes);
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        metadata_ = value;
        continue;
      }
      const Entry entry{dtype_named(value.at("dtype"), path), shape_of(value.at("shape"), path),
                        value.at("data_offsets").at(0)};
      const std::size_t end = value.at("data_offsets").at(1);
      const std::size_t bytes =
          static_cast<std::size_t>(entry.shape.numel()) * size_of(entry.dtype);
      CHECK_AS(ExitCode::data, end == entry.begin + bytes && end <= data_.size(),
               "{}: {} does not lie in the file", path, name);
      entries_.emplace(name, entry);
    }
  } catch (const json::exception& error) {
    DUALPATH_FAIL(ExitCode::data, "{}: {}", path, error.what());
  }
}

std::vector<std::string> FixtureFile::names(const std::string& prefix) const {
  std::vector<std::string> found;
  for (const auto& [name, entry] : entries_) {
    if (name.starts_with(prefix)) found.push_back(name);
  }
  return found;
}

std::vector<double> FixtureFile::reals(const std::string& name) const {
  const Entry& entry = at(name);
  if (entry.dtype == DType::f64) return read<double>(entry);
  const std::vector<float> values = read<float>(entry);
  return {values.begin(), values.end()};
}

std::vector<std::int32_t> FixtureFile::integers(const std::string& name) const {
  return read<std::int32_t>(at(name));
}

const std::string& FixtureFile::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  CHECK_AS(ExitCode::data, found != metadata_.end(), "{}: no metadata \"{}\"", path_, key);
  return found->second;
}

const FixtureFile::Entry& FixtureFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  CHECK_AS(ExitCode::data, found != entries_.end(), "{}: no tensor \"{}\"", path_, name);
  return found->second;
}

template <class T>
std::vector<T> FixtureFile::read(const Entry& entry) const {
  CHECK_AS(ExitCode::data, entry.dtype == dtype_of<T>, "{}: a tensor is {}, read as {}", path_,
           name_of(entry.dtype), name_of(dtype_of<T>));
  std::vector<T> values(static_cast<std::size_t>(entry.shape.numel()));
  std::memcpy(values.data(), data_.data() + entry.begin, values.size() * sizeof(T));
  return values;
}

}  // namespace dualpath
