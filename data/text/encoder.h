// Encodes much text fast.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/text/tokenizer.h"

namespace dualpath {

// Gives the ids of Tokenizer::encode, special tokens as text, with a memory of the pieces met
// before: one per thread. REQUIRES: the tokenizer outlives it.
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

  void encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids);

  const Tokenizer* tokenizer_;
  std::vector<Entry> cache_;
};

}  // namespace dualpath
