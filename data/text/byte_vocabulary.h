// Vocabularies as files spell them: every byte one visible character.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text/added_tokens.h"
#include "data/text/tokenizer.h"

namespace dualpath {

// The printable bytes of Latin-1, first in gpt2_byte_order, as themselves, the others as U+0100
// onwards.
class ByteSymbols {
 public:
  ByteSymbols();
  std::string to_symbols(std::string_view bytes) const;
  // Empty where a character stands for no byte.
  std::optional<std::string> to_bytes(std::string_view symbols) const;

 private:
  std::array<std::string, 256> symbols_;
  std::unordered_map<std::string, char> bytes_;
};

// The tokens of a file, by id. All errors are Error(data) and name the file.
class ByteVocabulary {
 public:
  // vocab: symbols -> id; `added` may be listed there or not. Together they have the ids 0..n-1.
  ByteVocabulary(const nlohmann::json& vocab, std::span<const AddedToken> added, std::string file);

  // where: tells the reader where "left right" stands.
  Merge merge_of(const std::string& left, const std::string& right, const std::string& where) const;

  std::vector<std::string> take_tokens() { return std::move(tokens_); }

 private:
  void add(std::uint64_t id, const std::string& name, std::string token);

  std::string file_;
  ByteSymbols symbols_;
  std::vector<std::string> tokens_;
  std::vector<bool> taken_;
  std::unordered_map<std::string, std::uint32_t> ids_;  // by symbols; the added ones excepted
};

}  // namespace dualpath
