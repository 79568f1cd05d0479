// Texts that tokenisers stumble over, drawn at random.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/random.h"

namespace dualpath {

inline std::string random_bytes(std::uint64_t seed, std::size_t count) {
  const CounterRng rng(seed, "bytes");
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += static_cast<char>(rng.below(i, 256));
  return bytes;
}

// `count` fragments: words, spaces of all kinds, contractions, digits, emoji, control characters,
// cut and overlong UTF-8.
inline std::string random_text(std::uint64_t seed, std::size_t count) {
  static constexpr std::string_view fragments[] = {
      "path", "a",     "The",  "é",        "Größe",    "путь",         "路",          " ",
      " ",    " ",     "\n",   "\t",       "\r\n",     "\u00a0",       "\u3000",      "'s",
      "'ll",  "'",     "7",    "²",        "٣",        "🙂",         "👩‍🚀", "-",
      "!?",   "\x01",  "\x7f", "\xe2\x82", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80",    "\xff",
      "\x80", "\u2028"};
  const CounterRng rng(seed, "text");
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += fragments[rng.below(i, std::size(fragments))];
  return text;
}

}  // namespace dualpath
