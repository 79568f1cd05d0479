#include "data/text/byte_vocabulary.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/text/utf8.h"

namespace dualpath {

ByteSymbols::ByteSymbols() {
  constexpr std::uint32_t num_printable = 188;
  const auto order = gpt2_byte_order();
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    const std::uint8_t byte = order[i];
    append_utf8(symbols_[byte], i < num_printable ? byte : 0x100 + i - num_printable);
    bytes_[symbols_[byte]] = static_cast<char>(byte);
  }
}

std::string ByteSymbols::to_symbols(std::string_view bytes) const {
  std::string symbols;
  for (const char byte : bytes) symbols += symbols_[static_cast<unsigned char>(byte)];
  return symbols;
}

std::optional<std::string> ByteSymbols::to_bytes(std::string_view symbols) const {
  std::string bytes;
  for (std::size_t i = 0; i < symbols.size();) {
    const std::size_t length = decode_utf8(symbols, i).bytes;
    const auto found = bytes_.find(std::string(symbols.substr(i, length)));
    if (found == bytes_.end()) return std::nullopt;
    bytes += found->second;
    i += length;
  }
  return bytes;
}

ByteVocabulary::ByteVocabulary(const nlohmann::json& vocab, std::span<const AddedToken> added,
                               std::string file)
    : file_(std::move(file)) {
  std::unordered_map<std::string_view, const AddedToken*> added_names;
  std::size_t num_tokens = vocab.size();
  for (const AddedToken& token : added) {
    CHECK_AS(ExitCode::data, added_names.emplace(token.content, &token).second,
             "{}: the added token '{}' is given twice", file_, token.content);
    if (!vocab.contains(token.content)) ++num_tokens;
  }
  tokens_.resize(num_tokens);
  taken_.resize(num_tokens);
  for (const auto& [name, value] : vocab.items()) {
    CHECK_AS(ExitCode::data, value.is_number_unsigned(), "{}: the id of '{}' is {}", file_, name,
             value.dump());
    const auto id = value.get<std::uint64_t>();
    if (const auto found = added_names.find(name); found != added_names.end()) {
      const AddedToken& token = *found->second;
      CHECK_AS(ExitCode::data, token.special && token.id == id,
               "{}: added_tokens: '{}' (id {}) is an ordinary token too (id {})", file_, name,
               token.id, id);
      continue;
    }
    auto bytes = symbols_.to_bytes(name);
    CHECK_AS(ExitCode::data, bytes,
             "{}: '{}' (id {}) is not written in GPT-2's 256 byte characters", file_, name, id);
    add(id, name, *std::move(bytes));
    ids_.emplace(name, static_cast<std::uint32_t>(id));
  }
  for (const AddedToken& token : added) add(token.id, token.content, token.content);
}

void ByteVocabulary::add(std::uint64_t id, const std::string& name, std::string token) {
  CHECK_AS(ExitCode::data, id < tokens_.size(),
           "{}: the id of '{}' is {}, but {} tokens need the ids 0 to {}", file_, name, id,
           tokens_.size(), tokens_.size() - 1);
  CHECK_AS(ExitCode::data, !taken_[id], "{}: id {} is given twice, the second time to '{}'", file_,
           id, name);
  taken_[id] = true;
  tokens_[id] = std::move(token);
}

Merge ByteVocabulary::merge_of(const std::string& left, const std::string& right,
                               const std::string& where) const {
  const auto id_of = [&](const std::string& symbols) {
    const auto found = ids_.find(symbols);
    CHECK_AS(ExitCode::data, found != ids_.end(),
             "{}: the vocabulary lacks '{}' of the merge '{} {}'", where, symbols, left, right);
    return found->second;
  };
  return {id_of(left), id_of(right), id_of(left + right)};
}

}  // namespace dualpath
