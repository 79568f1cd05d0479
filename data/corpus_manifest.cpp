#include "data/corpus_manifest.h"

#include <charconv>
#include <filesystem>
#include <yaml-cpp/yaml.h>

#include "data/file_io.h"

namespace dualpath {

namespace {

constexpr std::int64_t format_version = 1;

// A key of a map; names the file, the line and the key when it is missing or of another type.
template <class T>
T get(const std::string& path, const YAML::Node& map, const char* key) {
  CHECK_AS(ExitCode::data, map.IsMap() && map[key], "{}:{}: '{}' is missing", path,
           map.Mark().line + 1, key);
  const YAML::Node value = map[key];
  try {
    return value.as<T>();
  } catch (const YAML::Exception&) {
    DUALPATH_FAIL(ExitCode::data, "{}:{}: '{}' is malformed", path, value.Mark().line + 1, key);
  }
}

std::uint64_t get_hex(const std::string& path, const YAML::Node& map, const char* key) {
  const auto text = get<std::string>(path, map, key);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  CHECK_AS(ExitCode::data, error == std::errc() && end == text.data() + text.size(),
           "{}:{}: '{}' is not hexadecimal", path, map[key].Mark().line + 1, key);
  return value;
}

CorpusManifest parse(const std::string& path, const YAML::Node& root) {
  const auto version = get<std::int64_t>(path, root, "format_version");
  CHECK_AS(ExitCode::data, version == format_version,
           "{}: corpus format {}, this program reads format {}", path, version, format_version);
  CorpusManifest manifest;
  manifest.info.tokenizer_hash = get<std::string>(path, root, "tokenizer_hash");
  manifest.info.vocab_size = get<std::uint64_t>(path, root, "vocab_size");
  manifest.info.end_of_document = get<std::int64_t>(path, root, "end_of_document");
  manifest.num_tokens = get<std::uint64_t>(path, root, "num_tokens");
  manifest.num_documents = get<std::uint64_t>(path, root, "num_documents");
  manifest.text_bytes = get<std::uint64_t>(path, root, "text_bytes");
  std::uint64_t tokens = 0, documents = 0;
  for (const YAML::Node& node : get<YAML::Node>(path, root, "shards")) {
    CorpusManifest::Shard shard;
    shard.name = get<std::string>(path, node, "name");
    shard.num_tokens = get<std::uint64_t>(path, node, "num_tokens");
    shard.num_documents = get<std::uint64_t>(path, node, "num_documents");
    shard.bytes = get<std::uint64_t>(path, node, "bytes");
    shard.token_checksum = get_hex(path, node, "token_checksum");
    tokens += shard.num_tokens;
    documents += shard.num_documents;
    manifest.shards.push_back(std::move(shard));
  }
  CHECK_AS(ExitCode::data, tokens == manifest.num_tokens && documents == manifest.num_documents,
           "{}: num_tokens = {} and num_documents = {}, but the shards listed have {} and {}", path,
           manifest.num_tokens, manifest.num_documents, tokens, documents);
  return manifest;
}

}  // namespace

std::string corpus_manifest_path(const std::string& folder) {
  return std::filesystem::path(folder) / "corpus.yaml";
}

void write_corpus_manifest(const std::string& folder, const CorpusManifest& manifest) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "format_version" << YAML::Value << format_version;
  out << YAML::Key << "tokenizer_hash" << YAML::Value << YAML::DoubleQuoted
      << manifest.info.tokenizer_hash;
  out << YAML::Key << "vocab_size" << YAML::Value << manifest.info.vocab_size;
  out << YAML::Key << "end_of_document" << YAML::Value << manifest.info.end_of_document;
  out << YAML::Key << "num_tokens" << YAML::Value << manifest.num_tokens;
  out << YAML::Key << "num_documents" << YAML::Value << manifest.num_documents;
  out << YAML::Key << "text_bytes" << YAML::Value << manifest.text_bytes;
  out << YAML::Key << "shards" << YAML::Value << YAML::BeginSeq;
  for (const CorpusManifest::Shard& shard : manifest.shards) {
    out << YAML::BeginMap;
    out << YAML::Key << "name" << YAML::Value << shard.name;
    out << YAML::Key << "num_tokens" << YAML::Value << shard.num_tokens;
    out << YAML::Key << "num_documents" << YAML::Value << shard.num_documents;
    out << YAML::Key << "bytes" << YAML::Value << shard.bytes;
    out << YAML::Key << "token_checksum" << YAML::Value << YAML::DoubleQuoted
        << fmt::format("{:016x}", shard.token_checksum);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  write_file(corpus_manifest_path(folder), fmt::format("{}\n", out.c_str()), ExitCode::data);
}

CorpusManifest read_corpus_manifest(const std::string& folder) {
  const std::string path = corpus_manifest_path(folder);
  CHECK_AS(ExitCode::data, std::filesystem::exists(path),
           "{} is missing: {} is no corpus, or tokenising it was not finished", path, folder);
  try {
    return parse(path, YAML::Load(read_file(path, ExitCode::data)));
  } catch (const YAML::Exception& error) {
    DUALPATH_FAIL(ExitCode::data, "{}: not YAML: {}", path, error.what());
  }
}

}  // namespace dualpath
