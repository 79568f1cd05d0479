// Tokens beside the vocabulary of BPE, such as <|endoftext|>, and where they stand in text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualpath {

struct AddedToken {
  std::uint32_t id = 0;
  std::string content;
  // Special tokens structure the input (ends of documents, turns of a dialogue); others are text.
  bool special = true;
  // Looked for in normalised text, not in the text as it is.
  bool normalized = false;
  bool operator==(const AddedToken&) const = default;
};

// What text that spells a special token becomes. Added tokens that are not special are always
// recognised.
enum class SpecialTokens {
  as_text,     // tokens like any text: for text of unknown origin
  recognized,  // the special token: for prompts
};

// Finds any of a set of words.
class WordMatcher {
 public:
  struct Match {
    std::size_t begin, end;
    std::size_t word;  // its index
  };

  // Words are not empty and differ.
  explicit WordMatcher(std::span<const std::string> words);

  // The leftmost match in text[from..], the longest of those that begin there.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

 private:
  static constexpr std::uint32_t none = 0xffffffff;
  struct Node {
    std::vector<std::pair<char, std::uint32_t>> children;
    std::uint32_t word = none;  // that ends here
  };

  std::uint32_t child(std::uint32_t node, char c) const;

  std::vector<Node> nodes_;  // a trie; the root first
  std::array<bool, 256> is_first_byte_ = {};
};

}  // namespace dualpath
