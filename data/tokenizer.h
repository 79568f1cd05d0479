// Byte-level BPE as GPT-2 has it: text -> pieces (PreTokenizer) -> byte symbols -> merges, lowest
// rank first. Any byte string can be encoded, and decode(encode(x)) == x.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/pre_tokenizer.h"

namespace dualpath {

// The text of the special token that ends a document. In the text itself these characters are
// encoded like any others; only callers append the special token.
inline constexpr std::string_view end_of_text_name = "<|endoftext|>";

// The 256 bytes in the order of GPT-2's first 256 ids: the printable ones of Latin-1, the others.
std::span<const std::uint8_t, 256> gpt2_byte_order();

// Immutable; all members may be called from several threads at once.
class Tokenizer {
 public:
  // Adjacent tokens left, right become `result`, whose bytes are theirs joined.
  struct Merge {
    std::uint32_t left, right, result;
    bool operator==(const Merge&) const = default;
  };

  // tokens[id]: its bytes, `end_of_text` excepted, which stands for no text. merges: by rank.
  // Throws Error(data) where a byte has no token, a token or a pair occurs twice, or ids are wrong.
  Tokenizer(std::vector<std::string> tokens, std::vector<Merge> merges, std::uint32_t end_of_text);

  std::uint32_t vocab_size() const { return static_cast<std::uint32_t>(tokens_.size()); }
  std::uint32_t end_of_text() const { return end_of_text_; }
  std::span<const std::string> tokens() const { return tokens_; }
  std::span<const Merge> merges() const { return merges_; }
  const PreTokenizer& pre_tokenizer() const { return pre_tokenizer_; }

  // Appends the ids of `text`. For much text an Encoder is several times faster.
  void encode(std::string_view text, std::vector<std::uint32_t>& ids) const;
  // The same for one piece of the pre-tokeniser.
  void encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids) const;

  // The bytes of `ids`; end_of_text gives its name. Throws Error(data) for an id >= vocab_size.
  std::string decode(std::span<const std::uint32_t> ids) const;

  // 16 hex digits, XXH3 of tokens and merges: what shards and checkpoints record.
  const std::string& hash() const { return hash_; }

 private:
  static constexpr std::uint32_t no_rank = 0xffffffff;

  std::uint32_t rank_of(std::uint32_t left, std::uint32_t right) const;
  void merge_short(std::vector<std::uint32_t>& ids, std::size_t begin) const;
  void merge_long(std::vector<std::uint32_t>& ids, std::size_t begin) const;

  PreTokenizer pre_tokenizer_;
  std::vector<std::string> tokens_;
  std::vector<Merge> merges_;
  std::uint32_t end_of_text_;
  std::vector<std::uint32_t> token_of_byte_;                // [256]
  std::unordered_map<std::uint64_t, std::uint32_t> ranks_;  // left << 32 | right -> rank
  std::string hash_;
};

// Encodes with a memory of the pieces met before: one per thread. REQUIRES: the tokenizer outlives
// it.
class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);
  void encode(std::string_view text, std::vector<std::uint32_t>& ids);

 private:
  // A piece and its ids, if both are short enough; the last one of its slot stays.
  struct Entry {
    static constexpr std::size_t max_bytes = 22;
    static constexpr std::size_t max_ids = 6;
    std::uint8_t num_bytes = 0;
    std::uint8_t num_ids = 0;
    char bytes[max_bytes];
    std::uint32_t ids[max_ids];
  };

  const Tokenizer* tokenizer_;
  std::vector<Entry> cache_;
};

}  // namespace dualpath
