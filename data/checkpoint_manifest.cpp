#include "data/checkpoint_manifest.h"

#include <algorithm>
#include <charconv>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <yaml-cpp/yaml.h>

#include "data/file_io.h"

namespace dualpath {

namespace {

// A JSON string is a double-quoted YAML scalar.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

// A literal block that keeps every byte: "2" is the indentation, "+" and "-" say whether the last
// line ends with a newline.
std::string literal_block(const std::string& text) {
  if (text.empty()) return " \"\"\n";
  std::string block = text.ends_with('\n') ? " |2+\n" : " |2-\n";
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) block += "  " + text.substr(begin, end - begin);
    block += '\n';
    begin = end + 1;
  }
  return block;
}

std::string print_map(const std::map<std::string, std::string>& map) {
  if (map.empty()) return " {}\n";
  std::string text = "\n";
  for (const auto& [key, value] : map) {
    text += fmt::format("  {}: {}\n", quoted(key), quoted(value));
  }
  return text;
}

std::string print_tensor(const CheckpointTensor& tensor) {
  std::vector<std::string> slices;
  for (const StoredSlice& slice : tensor.slices) {
    slices.push_back(fmt::format("[{}, {}, {}]", slice.shard, slice.begin, slice.end));
  }
  return fmt::format("  - {{name: {}, dtype: {}, shape: {}, slices: [{}]}}\n", quoted(tensor.name),
                     name_of(tensor.dtype), tensor.global_shape.str(), fmt::join(slices, ", "));
}

std::string digest_line(std::string_view text) {
  return fmt::format("xxh3: {:016x}\n", checksum_of(std::as_bytes(std::span(text))));
}

std::uint64_t parse_hex(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  CHECK_AS(ExitCode::checkpoint, error == std::errc{} && end == text.data() + text.size(),
           "'{}' is no hash", text);
  return value;
}

DType parse_dtype(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::f64, DType::i32}) {
    if (name == name_of(dtype)) return dtype;
  }
  DUALPATH_FAIL(ExitCode::checkpoint, "'{}' is no dtype", name);
}

CheckpointTensor parse_tensor(const YAML::Node& node) {
  CheckpointTensor tensor{node["name"].as<std::string>(),
                          parse_dtype(node["dtype"].as<std::string>()),
                          Shape(node["shape"].as<std::vector<std::int64_t>>()),
                          {}};
  for (const YAML::Node& slice : node["slices"]) {
    tensor.slices.push_back(
        {slice[0].as<int>(), slice[1].as<std::int64_t>(), slice[2].as<std::int64_t>()});
  }
  return tensor;
}

CheckpointShard parse_shard(const YAML::Node& node) {
  return {node["file"].as<std::string>(), node["bytes"].as<std::int64_t>(),
          parse_hex(node["xxh3"].as<std::string>())};
}

// The tensor's slices, ascending, must touch each other and fill the tensor.
void check_coverage(const CheckpointTensor& tensor) {
  const auto what = [&] {
    return fmt::format("tensor '{}' {}", tensor.name, tensor.global_shape.str());
  };
  const std::int64_t numel = tensor.global_shape.numel();
  std::int64_t covered = 0;
  for (std::size_t i = 0; i < tensor.slices.size(); ++i) {
    const StoredSlice& slice = tensor.slices[i];
    CHECK_AS(ExitCode::checkpoint,
             0 <= slice.begin && slice.begin < slice.end && slice.end <= numel,
             "{}: shard {} holds an impossible slice [{}, {})", what(), slice.shard, slice.begin,
             slice.end);
    CHECK_AS(ExitCode::checkpoint, slice.begin <= covered, "{}: no shard holds [{}, {})", what(),
             covered, slice.begin);
    CHECK_AS(ExitCode::checkpoint, slice.begin == covered,
             "{}: shards {} and {} both hold [{}, {})", what(), tensor.slices[i - 1].shard,
             slice.shard, slice.begin, std::min(covered, slice.end));
    covered = slice.end;
  }
  CHECK_AS(ExitCode::checkpoint, covered == numel, "{}: no shard holds [{}, {})", what(), covered,
           numel);
}

void check_tensors(const CheckpointManifest& manifest) {
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) {
    const CheckpointTensor& tensor = manifest.tensors[i];
    CHECK_AS(ExitCode::checkpoint, i == 0 || manifest.tensors[i - 1].name < tensor.name,
             "tensor '{}' is out of order", tensor.name);
    check_coverage(tensor);
    for (const StoredSlice& slice : tensor.slices) {
      CHECK_AS(ExitCode::checkpoint,
               0 <= slice.shard && static_cast<std::size_t>(slice.shard) < manifest.shards.size(),
               "tensor '{}' lies in shard {} of {}", tensor.name, slice.shard,
               manifest.shards.size());
    }
  }
}

CheckpointManifest parse_yaml(const std::string& text) {
  const YAML::Node root = YAML::Load(text);
  const int version = root["format_version"].as<int>();
  CHECK_AS(ExitCode::checkpoint, version == CheckpointManifest::format_version,
           "has format version {}, this program reads version {}", version,
           CheckpointManifest::format_version);
  using Map = std::map<std::string, std::string>;
  CheckpointManifest manifest;
  manifest.step = root["step"].as<std::int64_t>();
  manifest.consumed_samples = root["consumed_samples"].as<std::int64_t>();
  manifest.consumed_tokens = root["consumed_tokens"].as<std::int64_t>();
  manifest.tokenizer_hash = root["tokenizer_hash"].as<std::string>();
  manifest.model = root["model"].as<std::string>();
  manifest.layout = root["layout"].as<Map>();
  manifest.environment = root["environment"].as<Map>();
  manifest.state = root["state"].as<Map>();
  manifest.data_state = root["data"].as<std::string>();
  for (const YAML::Node& shard : root["shards"]) manifest.shards.push_back(parse_shard(shard));
  for (const YAML::Node& tensor : root["tensors"]) manifest.tensors.push_back(parse_tensor(tensor));
  return manifest;
}

}  // namespace

const CheckpointTensor* CheckpointManifest::find(std::string_view name) const {
  const auto found = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const CheckpointTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

std::vector<CheckpointTensor> assemble_tensors(
    std::span<const std::vector<TensorSlice>> slices_of_rank) {
  std::map<std::string, CheckpointTensor> by_name;
  for (std::size_t rank = 0; rank < slices_of_rank.size(); ++rank) {
    for (const TensorSlice& slice : slices_of_rank[rank]) {
      CheckpointTensor& tensor =
          by_name.try_emplace(slice.name, slice.name, slice.dtype, slice.global_shape)
              .first->second;
      CHECK_AS(ExitCode::checkpoint,
               tensor.dtype == slice.dtype && tensor.global_shape == slice.global_shape,
               "tensor '{}' is {} {} on rank {}, but {} {} before", slice.name,
               name_of(slice.dtype), slice.global_shape.str(), rank, name_of(tensor.dtype),
               tensor.global_shape.str());
      if (slice.begin != slice.end) {
        tensor.slices.push_back({static_cast<int>(rank), slice.begin, slice.end});
      }
    }
  }
  std::vector<CheckpointTensor> tensors;
  for (auto& [name, tensor] : by_name) {
    std::ranges::sort(tensor.slices, {}, &StoredSlice::begin);
    check_coverage(tensor);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string print_manifest(const CheckpointManifest& manifest) {
  std::string text = fmt::format(
      "format_version: {}\nstep: {}\nconsumed_samples: {}\nconsumed_tokens: {}\n"
      "tokenizer_hash: {}\n",
      CheckpointManifest::format_version, manifest.step, manifest.consumed_samples,
      manifest.consumed_tokens, quoted(manifest.tokenizer_hash));
  text += "model:" + literal_block(manifest.model);
  text += "layout:" + print_map(manifest.layout);
  text += "environment:" + print_map(manifest.environment);
  text += "state:" + print_map(manifest.state);
  text += "data:" + literal_block(manifest.data_state);
  text += "shards:\n";
  for (const CheckpointShard& shard : manifest.shards) {
    text += fmt::format("  - {{file: {}, bytes: {}, xxh3: {:016x}}}\n", quoted(shard.file),
                        shard.bytes, shard.xxh3);
  }
  text += "tensors:\n";
  for (const CheckpointTensor& tensor : manifest.tensors) text += print_tensor(tensor);
  return text + digest_line(text);
}

CheckpointManifest parse_manifest(const std::string& text, const std::string& source) {
  const std::size_t size_before_digest =
      text.size() - std::min(text.size(), digest_line("").size());
  const std::string before_digest = text.substr(0, size_before_digest);
  CHECK_AS(ExitCode::checkpoint, text.substr(size_before_digest) == digest_line(before_digest),
           "{}: is damaged (truncated or changed since it was written)", source);
  try {
    CheckpointManifest manifest = parse_yaml(before_digest);
    check_tensors(manifest);
    return manifest;
  } catch (const std::exception& error) {
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: {}", source, error.what());
  }
}

}  // namespace dualpath
