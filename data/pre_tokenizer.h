// GPT-2's pre-tokenisation: text falls into pieces that byte-level BPE never merges across,
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// with \s the Unicode property White_Space, as in the `regex` module of the reference. A byte that
// is no part of well-formed UTF-8 counts as a character of its own: no letter, number or space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dualpath {

class PreTokenizer {
 public:
  PreTokenizer();

  // The end of the piece of `text` that begins at `begin`. REQUIRES: begin < text.size().
  std::size_t piece_end(std::string_view text, std::size_t begin) const;

  // The last position where `text` can be cut so that both parts, whatever follows, fall into the
  // same pieces as the whole: between a character that is no space and ASCII white space. 0: none.
  std::size_t last_safe_cut(std::string_view text) const;

 private:
  enum class CharClass : std::uint8_t { other, letter, number, space };
  struct Character {
    CharClass char_class;
    std::size_t bytes;
  };

  CharClass ascii_class(char c) const { return classes_[static_cast<unsigned char>(c)]; }
  Character at(std::string_view text, std::size_t position) const;
  std::size_t run_end(std::string_view text, std::size_t position, CharClass char_class) const;

  std::vector<CharClass> classes_;  // by code point
};

}  // namespace dualpath
