#include "data/tokens/corpus_manifest.h"

#include <filesystem>
#include <set>
#include <yaml-cpp/yaml.h>

#include "data/files/file_io.h"
#include "data/files/yaml_text.h"

namespace dualpath {

namespace {

constexpr std::int64_t format_version = 2;

// No key stands twice. Keys that a later version has added are passed over.
void check_keys(const std::string& path, const YAML::Node& map) {
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const auto key = entry.first.as<std::string>();
    const int line = entry.first.Mark().line + 1;
    CHECK_AS(ExitCode::data, seen.insert(key).second, "{}:{}: '{}' is given twice", path, line,
             key);
  }
}

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
  const auto value = parse_hex(get<std::string>(path, map, key));
  CHECK_AS(ExitCode::data, value.has_value(), "{}:{}: '{}' is not hexadecimal", path,
           map[key].Mark().line + 1, key);
  return *value;
}

// A file within the corpus folder.
std::string get_name(const std::string& path, const YAML::Node& map) {
  auto name = get<std::string>(path, map, "name");
  CHECK_AS(
      ExitCode::data, !name.empty() && name != "." && name != ".." && name.find('/') == name.npos,
      "{}:{}: '{}' is no name of a file in this folder", path, map["name"].Mark().line + 1, name);
  return name;
}

CorpusManifest::Shard parse_shard(const std::string& path, const YAML::Node& node) {
  CorpusManifest::Shard shard;
  shard.name = get_name(path, node);
  shard.num_tokens = get<std::uint64_t>(path, node, "num_tokens");
  shard.num_documents = get<std::uint64_t>(path, node, "num_documents");
  shard.bytes = get<std::uint64_t>(path, node, "bytes");
  shard.token_checksum = get_hex(path, node, "token_checksum");
  check_keys(path, node);
  return shard;
}

CorpusManifest::File parse_file(const std::string& path, const YAML::Node& node) {
  CorpusManifest::File file;
  file.name = get_name(path, node);
  file.bytes = get<std::uint64_t>(path, node, "bytes");
  file.xxh3 = get_hex(path, node, "xxh3");
  check_keys(path, node);
  return file;
}

CorpusInfo parse_info(const std::string& path, const YAML::Node& root) {
  CorpusInfo info;
  info.tokenizer_hash = get<std::string>(path, root, "tokenizer_hash");
  info.vocab_size = get<std::uint64_t>(path, root, "vocab_size");
  info.end_of_document = get<std::int64_t>(path, root, "end_of_document");
  CHECK_AS(ExitCode::data,
           info.end_of_document >= -1 &&
               (info.end_of_document < 0 ||
                static_cast<std::uint64_t>(info.end_of_document) < info.vocab_size),
           "{}: end_of_document {} is outside the vocabulary of {}", path, info.end_of_document,
           info.vocab_size);
  return info;
}

CorpusManifest parse(const std::string& path, const std::string& text) {
  const YAML::Node root = YAML::Load(text);
  const auto version = get<std::int64_t>(path, root, "format_version");
  CHECK_AS(ExitCode::data, version == format_version,
           "{}: corpus format {}, this program reads format {}; {}", path, version, format_version,
           version < format_version ? "tokenize the text again" : "a later dualpath wrote it");
  (void)without_checksum(text, path, ExitCode::data);
  check_keys(path, root);
  CorpusManifest manifest;
  manifest.info = parse_info(path, root);
  manifest.num_tokens = get<std::uint64_t>(path, root, "num_tokens");
  manifest.num_documents = get<std::uint64_t>(path, root, "num_documents");
  manifest.text_bytes = get<std::uint64_t>(path, root, "text_bytes");
  std::uint64_t tokens = 0, documents = 0;
  for (const YAML::Node& node : get<YAML::Node>(path, root, "shards")) {
    CorpusManifest::Shard shard = parse_shard(path, node);
    tokens += shard.num_tokens;
    documents += shard.num_documents;
    manifest.shards.push_back(std::move(shard));
  }
  CHECK_AS(ExitCode::data, !manifest.shards.empty(), "{}: lists no shards", path);
  CHECK_AS(ExitCode::data, tokens == manifest.num_tokens && documents == manifest.num_documents,
           "{}: num_tokens = {} and num_documents = {}, but the shards listed have {} and {}", path,
           manifest.num_tokens, manifest.num_documents, tokens, documents);
  for (const YAML::Node& node : get<YAML::Node>(path, root, "files"))
    manifest.files.push_back(parse_file(path, node));
  return manifest;
}

}  // namespace

std::string corpus_manifest_path(const std::string& folder) {
  return std::filesystem::path(folder) / "corpus.yaml";
}

void write_corpus_manifest(const std::string& folder, const CorpusManifest& manifest) {
  std::string text = fmt::format(
      "format_version: {}\ntokenizer_hash: {}\nvocab_size: {}\nend_of_document: {}\n"
      "num_tokens: {}\nnum_documents: {}\ntext_bytes: {}\nshards:\n",
      format_version, quoted(manifest.info.tokenizer_hash), manifest.info.vocab_size,
      manifest.info.end_of_document, manifest.num_tokens, manifest.num_documents,
      manifest.text_bytes);
  for (const CorpusManifest::Shard& shard : manifest.shards) {
    text += fmt::format(
        "  - {{name: {}, num_tokens: {}, num_documents: {}, bytes: {}, token_checksum: "
        "\"{:016x}\"}}\n",
        quoted(shard.name), shard.num_tokens, shard.num_documents, shard.bytes,
        shard.token_checksum);
  }
  text += manifest.files.empty() ? "files: []\n" : "files:\n";
  for (const CorpusManifest::File& file : manifest.files) {
    text += fmt::format("  - {{name: {}, bytes: {}, xxh3: \"{:016x}\"}}\n", quoted(file.name),
                        file.bytes, file.xxh3);
  }
  write_file(corpus_manifest_path(folder), with_checksum(std::move(text)), ExitCode::data);
  CHECK_AS(ExitCode::data, read_corpus_manifest(folder) == manifest, "{}: does not read back",
           corpus_manifest_path(folder));
}

CorpusManifest read_corpus_manifest(const std::string& folder) {
  const std::string path = corpus_manifest_path(folder);
  CHECK_AS(ExitCode::data, path_exists(path, ExitCode::data),
           "{} is missing: {} is no corpus, or tokenising it was not finished", path, folder);
  try {
    return parse(path, read_file(path, ExitCode::data));
  } catch (const YAML::Exception& error) {
    DUALPATH_FAIL(ExitCode::data, "{}: not YAML: {}", path, error.what());
  }
}

}  // namespace dualpath
