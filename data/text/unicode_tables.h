// Properties of code points as Hugging Face's `tokenizers` 0.23 has them. They are fixed here, and
// not taken from a library of the system, so that a text falls into the same tokens everywhere.
#pragma once

#include <cstdint>
#include <span>

namespace dualpath {

struct CodePointRange {
  std::uint32_t first, last;
};

// \p{L} and \p{N} of Unicode 16, ascending.
std::span<const CodePointRange> letter_ranges();
std::span<const CodePointRange> number_ranges();

// The reference normalises by Unicode 9. Code points that got a canonical decomposition or a
// combining class since then, up to Unicode 18, it neither composes nor reorders.
std::span<const CodePointRange> ranges_nfc_leaves_alone();

}  // namespace dualpath
