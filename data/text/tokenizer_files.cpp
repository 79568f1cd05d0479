#include "data/text/tokenizer_files.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "data/text/byte_vocabulary.h"
#include "data/text/tokenizer_json.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* tokenizer_name = "tokenizer.json";
constexpr const char* config_name = "tokenizer_config.json";
constexpr const char* vocabulary_name = "vocab.json";
constexpr const char* merges_name = "merges.txt";

Json read_json(const fs::path& path) {
  Json json = Json::parse(read_file(path, ExitCode::data), nullptr, /*allow_exceptions=*/false);
  CHECK_AS(
      ExitCode::data, json.is_object(),
      "{} is no JSON object; tokenizers are read from a tokenizer.json, or a vocab.json with {} "
      "beside it",
      path.string(), merges_name);
  return json;
}

// tokenizer_config.json's eos_token, a text or an object with the text as its content; none where
// there is no file or no such token.
std::optional<std::string> configured_end(const fs::path& path) {
  if (!path_exists(path, ExitCode::data)) return std::nullopt;
  const Json config = read_json(path);
  auto token = config.find("eos_token");
  if (token == config.end() || token->is_null()) return std::nullopt;
  const Json& content = token->is_object() ? token->value("content", Json()) : *token;
  CHECK_AS(ExitCode::data, content.is_string(), "{}: eos_token is {}, not a text", path.string(),
           token->dump());
  return content.get<std::string>();
}

std::uint32_t find_end(const std::vector<AddedToken>& added, std::string name,
                       const fs::path& path) {
  std::vector<std::string_view> special;
  for (const AddedToken& token : added) {
    if (token.special) special.push_back(token.content);
  }
  const auto is_special = [&](std::string_view content) {
    return std::find(special.begin(), special.end(), content) != special.end();
  };
  for (const std::string_view usual : {end_of_text_name, std::string_view("<|end_of_text|>")}) {
    if (name.empty() && is_special(usual)) name = usual;
  }
  if (name.empty() && special.size() == 1) name = special.front();
  CHECK_AS(ExitCode::data, is_special(name),
           "{}: {} is not among its special tokens: {}; give the one that ends a document",
           path.string(), name.empty() ? std::string(end_of_text_name) : name,
           fmt::join(special, " "));
  const auto token = std::find_if(added.begin(), added.end(),
                                  [&](const AddedToken& t) { return t.content == name; });
  return token->id;
}

TokenizerParts parts_of_tokenizer_json(const Json& json, const fs::path& path,
                                       const std::string& end_of_text) {
  TokenizerParts parts = parse_tokenizer_json(json, path.string());
  std::string name = end_of_text;
  if (name.empty()) name = configured_end(path.parent_path() / config_name).value_or("");
  parts.end_of_text = find_end(parts.added, name, path);
  return parts;
}

std::vector<Merge> read_merges(const fs::path& path, const ByteVocabulary& vocabulary) {
  std::istringstream file(read_file(path, ExitCode::data));
  std::vector<Merge> merges;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (number == 1 && line.starts_with("#version")) continue;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    const std::size_t space = line.find(' ');
    CHECK_AS(ExitCode::data, space != line.npos && line.find(' ', space + 1) == line.npos,
             "{}: '{}' is not two tokens with a space between", where, line);
    merges.push_back(vocabulary.merge_of(line.substr(0, space), line.substr(space + 1), where));
  }
  return merges;
}

TokenizerParts parts_of_vocabulary(const Json& json, const fs::path& path,
                                   const std::string& end_of_text) {
  const std::string name = end_of_text.empty() ? std::string(end_of_text_name) : end_of_text;
  const auto end = json.find(name);
  CHECK_AS(ExitCode::data, end != json.end() && end->is_number_unsigned(), "{} has no token {}",
           path.string(), name);
  TokenizerParts parts;
  parts.end_of_text = end->get<std::uint32_t>();
  parts.added = {{.id = parts.end_of_text, .content = name}};
  ByteVocabulary vocabulary(json, parts.added, path.string());
  parts.merges = read_merges(path.parent_path() / merges_name, vocabulary);
  parts.tokens = vocabulary.take_tokens();
  return parts;
}

fs::path file_in(const fs::path& folder) {
  const bool is_tokenizer_json = path_exists(folder / tokenizer_name, ExitCode::data);
  return folder / (is_tokenizer_json ? tokenizer_name : vocabulary_name);
}

}  // namespace

bool has_tokenizer(const fs::path& folder) {
  return path_exists(file_in(folder), ExitCode::data);
}

Tokenizer load_tokenizer(const fs::path& path, const std::string& end_of_text) {
  const bool is_in_folder = is_folder(path, ExitCode::data);
  const fs::path file = is_in_folder ? file_in(path) : path;
  CHECK_AS(ExitCode::data, !is_in_folder || path_exists(file, ExitCode::data),
           "{}: neither {} nor {} is in this folder", path.string(), tokenizer_name,
           vocabulary_name);
  const Json json = read_json(file);
  // A token may be called "model", but is a number.
  const bool is_tokenizer_json = json.contains("model") && json["model"].is_object();
  auto parts = is_tokenizer_json ? parts_of_tokenizer_json(json, file, end_of_text)
                                 : parts_of_vocabulary(json, file, end_of_text);
  try {
    return Tokenizer(std::move(parts));
  } catch (const Error& error) {
    DUALPATH_FAIL(error.code(), "tokenizer {}: {}", path.string(), error.what());
  }
}

std::vector<std::string> save_tokenizer(const Tokenizer& tokenizer, const fs::path& folder,
                                        ExitCode code) {
  const nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                         {"eos_token", tokenizer.tokens()[tokenizer.end_of_text()]},
                                         {"clean_up_tokenization_spaces", false}};
  write_file(folder / tokenizer_name, to_tokenizer_json(tokenizer), code);
  write_file(folder / config_name, config.dump(1) + "\n", code);
  return {tokenizer_name, config_name};
}

}  // namespace dualpath
