#include "data/text/added_tokens.h"

#include "core/base/error.h"

namespace dualpath {

WordMatcher::WordMatcher(std::span<const std::string> words) : nodes_(1) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    CHECK(!words[i].empty(), "an empty word is everywhere");
    is_first_byte_[static_cast<unsigned char>(words[i][0])] = true;
    std::uint32_t node = 0;
    for (const char c : words[i]) {
      std::uint32_t next = child(node, c);
      if (next == none) {
        next = static_cast<std::uint32_t>(nodes_.size());
        nodes_[node].children.emplace_back(c, next);
        nodes_.emplace_back();
      }
      node = next;
    }
    CHECK(nodes_[node].word == none, "'{}' is given twice", words[i]);
    nodes_[node].word = static_cast<std::uint32_t>(i);
  }
}

std::uint32_t WordMatcher::child(std::uint32_t node, char c) const {
  for (const auto& [byte, next] : nodes_[node].children) {
    if (byte == c) return next;
  }
  return none;
}

std::optional<WordMatcher::Match> WordMatcher::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!is_first_byte_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Match> longest;
    std::uint32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = child(node, text[i]);
      if (node == none) break;
      if (nodes_[node].word != none) longest = {begin, i + 1, nodes_[node].word};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace dualpath
