#include "data/pre_tokenizer.h"

#include <algorithm>
#include <utf8proc.h>

namespace dualpath {
namespace {

constexpr utf8proc_int32_t num_code_points = 0x110000;

bool is_white_space(utf8proc_int32_t code_point, utf8proc_category_t category) {
  return (code_point >= 0x09 && code_point <= 0x0d) || code_point == 0x85 ||
         category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

// The length of the contraction that `text` begins with, 0 if none: 's 't 're 've 'm 'll 'd.
std::size_t contraction_bytes(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const char first = text[1];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const std::string_view pair = text.substr(1, 2);
  return pair == "re" || pair == "ve" || pair == "ll" ? 3 : 0;
}

}  // namespace

PreTokenizer::PreTokenizer() : classes_(num_code_points, CharClass::other) {
  for (utf8proc_int32_t code_point = 0; code_point < num_code_points; ++code_point) {
    const utf8proc_category_t category = utf8proc_category(code_point);
    CharClass& char_class = classes_[static_cast<std::size_t>(code_point)];
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) {
      char_class = CharClass::letter;
    } else if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) {
      char_class = CharClass::number;
    } else if (is_white_space(code_point, category)) {
      char_class = CharClass::space;
    }
  }
}

PreTokenizer::Character PreTokenizer::at(std::string_view text, std::size_t position) const {
  if (static_cast<unsigned char>(text[position]) < 0x80) return {ascii_class(text[position]), 1};
  utf8proc_int32_t code_point = 0;
  const auto remaining =
      static_cast<utf8proc_ssize_t>(std::min<std::size_t>(text.size() - position, 4));
  const utf8proc_ssize_t bytes = utf8proc_iterate(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data() + position), remaining, &code_point);
  if (bytes <= 0) return {CharClass::other, 1};
  return {classes_[static_cast<std::size_t>(code_point)], static_cast<std::size_t>(bytes)};
}

std::size_t PreTokenizer::run_end(std::string_view text, std::size_t position,
                                  CharClass char_class) const {
  while (position < text.size()) {
    const Character next = at(text, position);
    if (next.char_class != char_class) break;
    position += next.bytes;
  }
  return position;
}

std::size_t PreTokenizer::piece_end(std::string_view text, std::size_t begin) const {
  if (const std::size_t bytes = contraction_bytes(text.substr(begin))) return begin + bytes;

  // " ?" and a run of one class.
  const std::size_t word = begin + (text[begin] == ' ' ? 1 : 0);
  if (word < text.size()) {
    const Character first = at(text, word);
    if (first.char_class != CharClass::space) {
      return run_end(text, word + first.bytes, first.char_class);
    }
  }

  // White space: up to the last one before a word, which takes it along if it is ' '.
  std::size_t last = begin;
  std::size_t end = begin;
  while (end < text.size()) {
    const Character next = at(text, end);
    if (next.char_class != CharClass::space) return last == begin ? end : last;
    last = end;
    end += next.bytes;
  }
  return end;
}

std::size_t PreTokenizer::last_safe_cut(std::string_view text) const {
  for (std::size_t cut = text.size(); cut-- > 1;) {
    if (static_cast<unsigned char>(text[cut]) >= 0x80 ||
        ascii_class(text[cut]) != CharClass::space) {
      continue;
    }
    // The character before the cut: the first byte is at most four back.
    std::size_t previous = cut - 1;
    while (previous > 0 && cut - previous < 4 && (text[previous] & 0xc0) == 0x80) --previous;
    const Character character = at(text, previous);
    if (previous + character.bytes != cut || character.char_class != CharClass::space) return cut;
  }
  return 0;
}

}  // namespace dualpath
