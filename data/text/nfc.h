// Unicode's canonical composition (NFC), as the reference tokenizers do it: code points younger
// than their tables (data/text/unicode_tables.h) and broken bytes stay as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dualpath {

class NfcNormalizer {
 public:
  NfcNormalizer();

  // `text` itself where nothing changes, else `buffer`, which is overwritten.
  std::string_view normalize(std::string_view text, std::string& buffer) const;

  // Whether the character keeps its form behind any neighbour.
  bool is_inert(std::uint32_t code_point) const;

 private:
  static constexpr std::uint8_t joins_previous = 1;  // composed with, or reordered behind, others
  static constexpr std::uint8_t changes = 2;         // its own NFC is another
  static constexpr std::uint8_t stands_alone = 4;    // nothing joins it

  std::uint8_t flags_at(std::string_view text, std::size_t position, std::size_t& bytes) const;
  void append_composed(std::string_view text, std::string& out) const;

  std::vector<std::uint8_t> flags_;  // by code point, 0 beyond
};

}  // namespace dualpath
