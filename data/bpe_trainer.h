// Trains a byte-level BPE in GPT-2's layout: 256 byte tokens, merges in their order, <|endoftext|>.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "data/pre_tokenizer.h"
#include "data/tokenizer.h"

namespace dualpath {

// How often each piece of the pre-tokeniser occurs. Several threads count into counters of their
// own; the sum does not depend on how the text was dealt out.
class PieceCounter {
 public:
  // REQUIRES: the pre-tokeniser outlives the counter.
  explicit PieceCounter(const PreTokenizer& pre_tokenizer) : pre_tokenizer_(&pre_tokenizer) {}
  void add(std::string_view text);
  void add(const PieceCounter& other);
  const auto& counts() const { return counts_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view piece) const {
      return std::hash<std::string_view>{}(piece);
    }
  };

  const PreTokenizer* pre_tokenizer_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> counts_;
};

inline constexpr std::uint32_t min_vocab_size = 257;

// Merges the most frequent pair of adjacent tokens, again and again; among equally frequent ones
// the smallest (left id, right id). Ends at vocab_size tokens, or earlier when no pair occurs
// twice. on_merge is told the number of tokens so far. REQUIRES: vocab_size >= min_vocab_size.
Tokenizer train_bpe(const PieceCounter& pieces, std::uint32_t vocab_size,
                    const std::function<void(std::uint32_t)>& on_merge = {});

}  // namespace dualpath
