#include "data/checkpoints/checkpoint_manifest.h"

#include <algorithm>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "data/files/yaml_text.h"

namespace dualpath {

namespace {

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

std::uint64_t parse_hash(const std::string& text) {
  const auto value = parse_hex(text);
  CHECK_AS(ExitCode::checkpoint, value.has_value(), "'{}' is no hash", text);
  return *value;
}

CheckpointManifest parse_yaml(const std::string& text) {
  const YAML::Node root = YAML::Load(text);
  const int version = root["format_version"].as<int>();
  if (version != CheckpointManifest::format_version) {
    throw OtherFormat(
        ExitCode::checkpoint,
        fmt::format("written in format {}, this program reads format {}; use the program that "
                    "wrote it, or another run.folder",
                    version, CheckpointManifest::format_version),
        __FILE__, __LINE__);
  }
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
  const YAML::Node shards = root["shards"];
  manifest.shards = {shards["count"].as<std::int64_t>(), shards["bytes"].as<std::int64_t>(),
                     parse_hash(shards["xxh3"].as<std::string>())};
  return manifest;
}

}  // namespace

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
  text += fmt::format("shards: {{count: {}, bytes: {}, xxh3: {:016x}}}\n", manifest.shards.count,
                      manifest.shards.bytes, manifest.shards.xxh3);
  return with_checksum(std::move(text));
}

CheckpointManifest parse_manifest(const std::string& text, const std::string& source) {
  const std::string before_checksum = without_checksum(text, source, ExitCode::checkpoint);
  try {
    return parse_yaml(before_checksum);
  } catch (const OtherFormat& error) {
    throw OtherFormat(error.code(), fmt::format("{}: {}", source, error.what()), error.file(),
                      error.line());
  } catch (const std::exception& error) {
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: {}", source, error.what());
  }
}

}  // namespace dualpath
