// Pre-tokenisation: text falls into pieces that byte-level BPE never merges across. The three
// rules are regular expressions of the published tokenizers, scanned by hand:
//
//   gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
//           | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//   qwen2   as llama3, but \p{N} alone: every digit is a piece
//
// with \s the Unicode property White_Space. A broken byte (data/text/utf8.h) counts as a character
// that is no letter, number or space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/config/field.h"

namespace dualpath {

enum class SplitRule { gpt2, llama3, qwen2 };

template <>
struct EnumNames<SplitRule> {
  static constexpr std::pair<SplitRule, const char*> values[] = {
      {SplitRule::gpt2, "gpt2"}, {SplitRule::llama3, "llama3"}, {SplitRule::qwen2, "qwen2"}};
};

// The rule's regular expression as tokenizer.json has it.
std::string_view regex_of(SplitRule rule);

class PreTokenizer {
 public:
  explicit PreTokenizer(SplitRule rule);
  SplitRule rule() const { return rule_; }

  // The end of the piece of `text` that begins at `begin`. REQUIRES: begin < text.size().
  std::size_t piece_end(std::string_view text, std::size_t begin) const;

  // Whether text[..cut) and text[cut..), whatever follows, fall into the same pieces as the whole.
  // True between a character that is no space and ASCII white space, except before line ends that
  // belong to the piece before them. REQUIRES: 0 < cut < text.size().
  bool is_safe_cut(std::string_view text, std::size_t cut) const;

 private:
  enum class CharClass : std::uint8_t { other, letter, number, space };
  struct Character {
    CharClass char_class;
    std::size_t bytes;
  };

  CharClass ascii_class(char c) const { return classes_[static_cast<unsigned char>(c)]; }
  CharClass class_of(std::uint32_t code_point) const;
  Character at(std::string_view text, std::size_t position) const;
  std::size_t run_end(std::string_view text, std::size_t position, CharClass char_class) const;
  std::size_t gpt2_piece_end(std::string_view text, std::size_t begin) const;
  std::size_t llama3_piece_end(std::string_view text, std::size_t begin) const;
  std::size_t number_end(std::string_view text, std::size_t begin) const;
  std::size_t space_end(std::string_view text, std::size_t begin, bool lines) const;

  SplitRule rule_;
  std::vector<CharClass> classes_;  // by code point
};

}  // namespace dualpath
