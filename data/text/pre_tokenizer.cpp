#include "data/text/pre_tokenizer.h"

#include <algorithm>

#include "data/text/unicode_tables.h"
#include "data/text/utf8.h"

namespace dualpath {
namespace {

constexpr CodePointRange white_space[] = {
    {0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

bool is_line_end(char c) {
  return c == '\n' || c == '\r';
}

// The length of the contraction that `text` begins with, 0 if none: 's 't 're 've 'm 'll 'd. In any
// case, the long s (U+017F) is an s too.
std::size_t contraction_bytes(std::string_view text, bool any_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  if (any_case && text.substr(1, 2) == "\u017f") return 3;
  const auto letter = [&](std::size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char second = letter(2);
  const bool is_pair =
      ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
  return is_pair ? 3 : 0;
}

}  // namespace

std::string_view regex_of(SplitRule rule) {
  switch (rule) {
    case SplitRule::gpt2:
      return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    case SplitRule::llama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case SplitRule::qwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  }
  return {};
}

PreTokenizer::PreTokenizer(SplitRule rule)
    : rule_(rule), classes_(num_code_points, CharClass::other) {
  const auto set = [&](std::span<const CodePointRange> ranges, CharClass char_class) {
    for (const auto& [first, last] : ranges) {
      std::fill(classes_.begin() + first, classes_.begin() + last + 1, char_class);
    }
  };
  set(letter_ranges(), CharClass::letter);
  set(number_ranges(), CharClass::number);
  set(white_space, CharClass::space);
}

inline PreTokenizer::CharClass PreTokenizer::class_of(std::uint32_t code_point) const {
  return code_point == Utf8Character::broken ? CharClass::other : classes_[code_point];
}

inline PreTokenizer::Character PreTokenizer::at(std::string_view text, std::size_t position) const {
  if (static_cast<unsigned char>(text[position]) < 0x80) return {ascii_class(text[position]), 1};
  const Utf8Character character = decode_utf8(text, position);
  return {class_of(character.code_point), character.bytes};
}

inline std::size_t PreTokenizer::run_end(std::string_view text, std::size_t position,
                                         CharClass char_class) const {
  while (position < text.size()) {
    const Character next = at(text, position);
    if (next.char_class != char_class) break;
    position += next.bytes;
  }
  return position;
}

std::size_t PreTokenizer::piece_end(std::string_view text, std::size_t begin) const {
  if (text[begin] == '\'') {
    const std::size_t bytes = contraction_bytes(text.substr(begin), rule_ != SplitRule::gpt2);
    if (bytes > 0) return begin + bytes;
  }
  return rule_ == SplitRule::gpt2 ? gpt2_piece_end(text, begin) : llama3_piece_end(text, begin);
}

std::size_t PreTokenizer::gpt2_piece_end(std::string_view text, std::size_t begin) const {
  // " ?" and a run of one class.
  const std::size_t word = begin + (text[begin] == ' ' ? 1 : 0);
  if (word < text.size()) {
    const Character first = at(text, word);
    if (first.char_class != CharClass::space) {
      return run_end(text, word + first.bytes, first.char_class);
    }
  }
  return space_end(text, begin, false);
}

std::size_t PreTokenizer::llama3_piece_end(std::string_view text, std::size_t begin) const {
  const Character first = at(text, begin);
  const std::size_t second = begin + first.bytes;
  if (first.char_class == CharClass::letter) return run_end(text, second, CharClass::letter);
  if (first.char_class == CharClass::number) return number_end(text, begin);

  const CharClass next = second < text.size() ? at(text, second).char_class : CharClass::space;
  if (next == CharClass::letter && !is_line_end(text[begin])) {
    return run_end(text, second, CharClass::letter);
  }
  if (first.char_class == CharClass::other || (text[begin] == ' ' && next == CharClass::other)) {
    std::size_t end = run_end(text, second, CharClass::other);
    while (end < text.size() && is_line_end(text[end])) ++end;
    return end;
  }
  return space_end(text, begin, true);
}

std::size_t PreTokenizer::number_end(std::string_view text, std::size_t begin) const {
  const int longest = rule_ == SplitRule::llama3 ? 3 : 1;
  std::size_t end = begin;
  for (int count = 0; count < longest && end < text.size(); ++count) {
    const Character next = at(text, end);
    if (next.char_class != CharClass::number) break;
    end += next.bytes;
  }
  return end;
}

// White space: up to the last one before a word, which may take it along. If `lines`, a run that
// holds a line end ends after the last of them.
std::size_t PreTokenizer::space_end(std::string_view text, std::size_t begin, bool lines) const {
  std::size_t line_end = begin;
  std::size_t last = begin;
  std::size_t end = begin;
  bool is_at_word = false;
  while (end < text.size() && !is_at_word) {
    const Character next = at(text, end);
    is_at_word = next.char_class != CharClass::space;
    if (is_at_word) break;
    last = end;
    end += next.bytes;
    if (is_line_end(text[last])) line_end = end;
  }
  if (lines && line_end > begin) return line_end;
  return is_at_word && last > begin ? last : end;
}

bool PreTokenizer::is_safe_cut(std::string_view text, std::size_t cut) const {
  if (static_cast<unsigned char>(text[cut]) >= 0x80) return false;
  if (ascii_class(text[cut]) != CharClass::space) return false;
  const CharClass previous = class_of(decode_utf8_before(text, cut).code_point);
  if (previous == CharClass::space) return false;
  return rule_ == SplitRule::gpt2 || previous != CharClass::other || !is_line_end(text[cut]);
}

}  // namespace dualpath
