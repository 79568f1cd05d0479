#include "data/tokenizer_files.h"

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "data/file_io.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t num_printable_bytes = 188;

// The files write every byte as one visible character: the printable ones of Latin-1, first in
// gpt2_byte_order, as themselves, the others as U+0100 onwards.
class ByteSymbols {
 public:
  ByteSymbols() {
    const auto order = gpt2_byte_order();
    for (std::uint32_t i = 0; i < order.size(); ++i) {
      const std::uint8_t byte = order[i];
      symbols_[byte] = utf8(i < num_printable_bytes ? byte : 0x100 + i - num_printable_bytes);
      bytes_[symbols_[byte]] = static_cast<char>(byte);
    }
  }

  std::string to_symbols(std::string_view bytes) const {
    std::string symbols;
    for (const char byte : bytes) symbols += symbols_[static_cast<unsigned char>(byte)];
    return symbols;
  }

  // Empty where a character stands for no byte.
  std::optional<std::string> to_bytes(std::string_view symbols) const {
    std::string bytes;
    for (std::size_t i = 0; i < symbols.size();) {
      const std::size_t length = static_cast<unsigned char>(symbols[i]) < 0x80 ? 1 : 2;
      const auto found = bytes_.find(std::string(symbols.substr(i, length)));
      if (found == bytes_.end()) return std::nullopt;
      bytes += found->second;
      i += length;
    }
    return bytes;
  }

 private:
  static std::string utf8(std::uint32_t code_point) {  // below U+0800
    if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
    return {static_cast<char>(0xc0 | code_point >> 6),
            static_cast<char>(0x80 | (code_point & 0x3f))};
  }

  std::array<std::string, 256> symbols_;
  std::unordered_map<std::string, char> bytes_;
};

struct Vocabulary {
  std::vector<std::string> tokens;
  std::unordered_map<std::string, std::uint32_t> ids;  // by bytes
  std::uint32_t end_of_text = 0;
};

std::ifstream open(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK_AS(ExitCode::data, file, "cannot read {}", path.string());
  return file;
}

Vocabulary read_vocabulary(const fs::path& path, const ByteSymbols& symbols) {
  std::ifstream file = open(path);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  CHECK_AS(ExitCode::data, json.is_object(), "{} is no JSON object of token: id", path.string());

  Vocabulary vocabulary;
  vocabulary.tokens.resize(json.size());
  std::vector<bool> taken(json.size());
  bool has_end_of_text = false;
  for (const auto& [name, value] : json.items()) {
    CHECK_AS(ExitCode::data, value.is_number_unsigned() && value.get<std::uint64_t>() < json.size(),
             "{}: the id of '{}' is {}, but {} tokens need the ids 0 to {}", path.string(), name,
             value.dump(), json.size(), json.size() - 1);
    const auto id = value.get<std::uint32_t>();
    CHECK_AS(ExitCode::data, !taken[id], "{}: id {} is given twice, the second time to '{}'",
             path.string(), id, name);
    taken[id] = true;
    if (name == end_of_text_name) {
      has_end_of_text = true;
      vocabulary.end_of_text = id;
      vocabulary.tokens[id] = name;
      continue;
    }
    const auto bytes = symbols.to_bytes(name);
    CHECK_AS(ExitCode::data, bytes,
             "{}: '{}' (id {}) is not written in GPT-2's 256 byte characters", path.string(), name,
             id);
    vocabulary.tokens[id] = *bytes;
    vocabulary.ids.emplace(*bytes, id);
  }
  CHECK_AS(ExitCode::data, has_end_of_text, "{} has no {}", path.string(), end_of_text_name);
  return vocabulary;
}

std::vector<Tokenizer::Merge> read_merges(const fs::path& path, const ByteSymbols& symbols,
                                          const Vocabulary& vocabulary) {
  std::ifstream file = open(path);
  std::vector<Tokenizer::Merge> merges;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (number == 1 && line.starts_with("#version")) continue;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    CHECK_AS(ExitCode::data, space != line.npos && line.find(' ', space + 1) == line.npos,
             "{}:{}: '{}' is not two tokens with a space between", path.string(), number, line);
    const auto id_of = [&](std::optional<std::string> bytes) {
      const auto found = bytes ? vocabulary.ids.find(*bytes) : vocabulary.ids.end();
      CHECK_AS(ExitCode::data, found != vocabulary.ids.end(),
               "{}:{}: the vocabulary lacks a token of the merge '{}'", path.string(), number,
               line);
      return found->second;
    };
    const std::string left = line.substr(0, space);
    const std::string right = line.substr(space + 1);
    merges.push_back({id_of(symbols.to_bytes(left)), id_of(symbols.to_bytes(right)),
                      id_of(symbols.to_bytes(left + right))});
  }
  return merges;
}

}  // namespace

Tokenizer load_tokenizer(const fs::path& path) {
  const fs::path vocabulary_path = fs::is_directory(path) ? path / "vocab.json" : path;
  const ByteSymbols symbols;
  Vocabulary vocabulary = read_vocabulary(vocabulary_path, symbols);
  auto merges = read_merges(vocabulary_path.parent_path() / "merges.txt", symbols, vocabulary);
  try {
    return Tokenizer(std::move(vocabulary.tokens), std::move(merges), vocabulary.end_of_text);
  } catch (const Error& error) {
    DUALPATH_FAIL(error.code(), "tokenizer {}: {}", path.string(), error.what());
  }
}

void save_tokenizer(const Tokenizer& tokenizer, const fs::path& folder) {
  const ByteSymbols symbols;
  const auto name_of_token = [&](std::uint32_t id) {
    return id == tokenizer.end_of_text() ? std::string(end_of_text_name)
                                         : symbols.to_symbols(tokenizer.tokens()[id]);
  };
  std::string vocabulary;
  for (std::uint32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    vocabulary += fmt::format("{}{}: {}", id == 0 ? "{" : ",\n ",
                              nlohmann::json(name_of_token(id)).dump(), id);
  }
  write_file(folder / "vocab.json", vocabulary + "}\n", ExitCode::data);

  std::string merges = "#version: 0.2\n";
  for (const Tokenizer::Merge& merge : tokenizer.merges()) {
    merges += fmt::format("{} {}\n", name_of_token(merge.left), name_of_token(merge.right));
  }
  write_file(folder / "merges.txt", merges, ExitCode::data);
}

}  // namespace dualpath
