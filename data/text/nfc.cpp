#include "data/text/nfc.h"

#include <algorithm>
#include <array>
#include <span>
#include <utf8proc.h>

#include "core/base/error.h"
#include "data/text/unicode_tables.h"
#include "data/text/utf8.h"

namespace dualpath {
namespace {

constexpr std::uint32_t first_mark = 0x300;      // what is below is NFC, beside any neighbour
constexpr std::uint32_t end_of_marks = 0x30000;  // no canonical property beyond
constexpr auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

int combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// The canonical decomposition of one character; at most four (Unicode's stability policy).
std::span<const utf8proc_int32_t> decompose(std::uint32_t code_point,
                                            std::array<utf8proc_int32_t, 8>& out) {
  int boundary = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), out.data(),
                              static_cast<utf8proc_ssize_t>(out.size()), options, &boundary);
  CHECK(count > 0 && count <= static_cast<utf8proc_ssize_t>(out.size()),
        "U+{:04X} decomposes into {} characters", code_point, count);
  return std::span(out).first(static_cast<std::size_t>(count));
}

// Composes decomposed and ordered characters in place.
void compose(std::vector<utf8proc_int32_t>& characters) {
  const utf8proc_ssize_t count = utf8proc_normalize_utf32(
      characters.data(), static_cast<utf8proc_ssize_t>(characters.size()), options);
  CHECK(count >= 0, "utf8proc: {}", utf8proc_errmsg(count));
  characters.resize(static_cast<std::size_t>(count));
}

}  // namespace

NfcNormalizer::NfcNormalizer() : flags_(end_of_marks, 0) {
  std::array<utf8proc_int32_t, 8> buffer;
  for (std::uint32_t c = first_mark; c < end_of_marks; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const auto parts = decompose(c, buffer);
    if (combining_class(parts.front()) != 0) flags_[c] |= joins_previous;
    if (parts.size() == 1 && parts[0] == static_cast<utf8proc_int32_t>(c)) continue;
    std::vector<utf8proc_int32_t> composed(parts.begin(), parts.end());
    compose(composed);
    if (composed.size() == 1 && composed[0] == static_cast<utf8proc_int32_t>(c)) {
      // The second of a pair that composes.
      flags_[static_cast<std::size_t>(parts.back())] |= joins_previous;
    } else {
      flags_[c] |= changes;
    }
  }
  for (const auto& [first, last] : ranges_nfc_leaves_alone()) {
    std::fill(flags_.begin() + first, flags_.begin() + last + 1, stands_alone);
  }
}

bool NfcNormalizer::is_inert(std::uint32_t code_point) const {
  return code_point >= end_of_marks || (flags_[code_point] & (joins_previous | changes)) == 0;
}

inline std::uint8_t NfcNormalizer::flags_at(std::string_view text, std::size_t position,
                                            std::size_t& bytes) const {
  const Utf8Character character = decode_utf8(text, position);
  bytes = character.bytes;
  if (character.code_point == Utf8Character::broken) return stands_alone;
  return character.code_point < end_of_marks ? flags_[character.code_point] : 0;
}

std::string_view NfcNormalizer::normalize(std::string_view text, std::string& buffer) const {
  buffer.clear();
  std::size_t copied = 0;    // text[..copied) is in the buffer
  std::size_t joinable = 0;  // text[joinable..position): the character before, if it may change
  std::size_t bytes = 0;
  for (std::size_t position = 0; position < text.size(); position += bytes) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      joinable = position;
      bytes = 1;
      continue;
    }
    const std::uint8_t flags = flags_at(text, position, bytes);
    if ((flags & (joins_previous | changes)) == 0) {
      joinable = flags == stands_alone ? position + bytes : position;
      continue;
    }
    // All that may change together: a character and those that join it.
    const std::size_t begin = (flags & joins_previous) != 0 ? joinable : position;
    std::size_t end = position + bytes;
    for (std::size_t next = 0; end < text.size(); end += next) {
      if ((flags_at(text, end, next) & joins_previous) == 0) break;
    }
    buffer += text.substr(copied, begin - copied);
    append_composed(text.substr(begin, end - begin), buffer);
    copied = joinable = end;
    bytes = end - position;
  }
  if (copied == 0) return text;
  buffer += text.substr(copied);
  return buffer;
}

void NfcNormalizer::append_composed(std::string_view text, std::string& out) const {
  std::array<utf8proc_int32_t, 8> parts;
  std::vector<utf8proc_int32_t> characters;
  for (std::size_t position = 0; position < text.size();) {
    const Utf8Character character = decode_utf8(text, position);
    position += character.bytes;
    const auto decomposed = decompose(character.code_point, parts);
    characters.insert(characters.end(), decomposed.begin(), decomposed.end());
  }
  // Marks between starters in the order of their classes.
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
    const auto end = std::find_if(begin + 1, characters.end(), is_starter);
    const auto marks = is_starter(*begin) ? begin + 1 : begin;
    std::stable_sort(marks, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    begin = end;
  }
  compose(characters);
  for (const utf8proc_int32_t c : characters) append_utf8(out, static_cast<std::uint32_t>(c));
}

}  // namespace dualpath
