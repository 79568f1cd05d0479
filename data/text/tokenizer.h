// Byte-level BPE: text -> pieces (Segmenter) -> byte symbols -> merges, lowest rank first. Any byte
// string can be encoded, and decode(encode(x)) == x, or x's NFC where the tokenizer normalises.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text/pair_ranks.h"
#include "data/text/segmenter.h"

namespace dualpath {

// GPT-2's text of the special token that ends a document, and that of tokenizers trained here.
inline constexpr std::string_view end_of_text_name = "<|endoftext|>";

// The 256 bytes in the order of GPT-2's first 256 ids: the printable ones of Latin-1, the others.
std::span<const std::uint8_t, 256> gpt2_byte_order();

// Adjacent tokens left, right become `result`, whose bytes are theirs joined.
struct Merge {
  std::uint32_t left, right, result;
  bool operator==(const Merge&) const = default;
};

// All that makes a tokenizer.
struct TokenizerParts {
  std::vector<std::string> tokens;  // [id]: its bytes; of an added token its content
  std::vector<Merge> merges;        // by rank
  std::uint32_t end_of_text = 0;    // ends every document; a special token
  SplitRule split = SplitRule::gpt2;
  bool nfc = false;
  bool ignore_merges = false;          // a piece that is a token is taken whole
  std::vector<AddedToken> added = {};  // end_of_text need not be listed
};

// Immutable; all members may be called from several threads at once.
class Tokenizer {
 public:
  // Throws Error(data) where a byte has no token, a token or a pair occurs twice, or ids are wrong.
  explicit Tokenizer(TokenizerParts parts);
  Tokenizer(Tokenizer&&) = default;
  Tokenizer& operator=(Tokenizer&&) = default;

  std::uint32_t vocab_size() const { return static_cast<std::uint32_t>(parts_.tokens.size()); }
  std::uint32_t end_of_text() const { return parts_.end_of_text; }
  std::span<const std::string> tokens() const { return parts_.tokens; }
  std::span<const Merge> merges() const { return parts_.merges; }
  // As given, but with end_of_text among the added tokens, and these by id.
  const TokenizerParts& parts() const { return parts_; }
  const Segmenter& segmenter() const { return segmenter_; }

  // Appends the ids of `text`. For much text an Encoder is several times faster.
  void encode(std::string_view text, std::vector<std::uint32_t>& ids,
              SpecialTokens special = SpecialTokens::as_text) const;
  // The same for one piece.
  void encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids) const;

  // The bytes of `ids`; added tokens give their content. Throws Error(data) for an id >=
  // vocab_size.
  std::string decode(std::span<const std::uint32_t> ids) const;

  // 16 hex digits, XXH3 of all parts: what shards and checkpoints record.
  const std::string& hash() const { return hash_; }

 private:
  void index_tokens();
  void index_merges();
  void merge_short(std::string_view piece, std::vector<std::uint32_t>& ids) const;
  void merge_long(std::string_view piece, std::vector<std::uint32_t>& ids) const;

  TokenizerParts parts_;
  Segmenter segmenter_;
  std::vector<bool> is_added_;                // by id
  std::vector<std::uint32_t> token_of_byte_;  // [256]
  PairRanks ranks_;
  std::unordered_map<std::string_view, std::uint32_t> id_of_bytes_;  // into parts_.tokens
  std::string hash_;
};

}  // namespace dualpath
