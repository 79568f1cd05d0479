// Characters of text that need not be well-formed UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dualpath {

inline constexpr std::uint32_t num_code_points = 0x110000;

struct Utf8Character {
  static constexpr std::uint32_t broken = 0xffffffff;
  std::uint32_t code_point;  // or `broken`
  std::uint32_t bytes;
};

// The character that begins at `position`. A byte that is no part of well-formed UTF-8 is a broken
// character of its own. REQUIRES: position < text.size().
inline Utf8Character decode_utf8(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  constexpr Utf8Character broken{Utf8Character::broken, 1};
  const std::uint32_t bytes = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (bytes == 0 || first > 0xf4 || text.size() - position < bytes) return broken;
  std::uint32_t code_point = first & (0xffu >> (bytes + 1));
  for (std::uint32_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return broken;
    code_point = code_point << 6 | (byte(i) & 0x3f);
  }
  // Overlong, surrogates, beyond the last code point.
  const bool is_valid = bytes == 2 ||
                        (bytes == 3 && code_point >= 0x800 && code_point - 0xd800 >= 0x800) ||
                        (bytes == 4 && code_point >= 0x10000 && code_point < num_code_points);
  return is_valid ? Utf8Character{code_point, bytes} : broken;
}

// The character that ends at `position`. REQUIRES: 0 < position <= text.size().
inline Utf8Character decode_utf8_before(std::string_view text, std::size_t position) {
  std::size_t begin = position - 1;
  while (begin > 0 && position - begin < 4 && (text[begin] & 0xc0) == 0x80) --begin;
  const Utf8Character character = decode_utf8(text.substr(0, position), begin);
  return begin + character.bytes == position ? character : Utf8Character{Utf8Character::broken, 1};
}

inline void append_utf8(std::string& text, std::uint32_t code_point) {
  const auto tail = [&](int shift) {
    text += static_cast<char>(0x80 | (code_point >> shift & 0x3f));
  };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xc0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xe0 | code_point >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xf0 | code_point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace dualpath
