// The word of a list that a mistyped one probably meant.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace dualpath {

// Insertions, deletions, replacements and swaps of neighbours that turn a into b.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest edit distance, the first of equals; "" where none is within a
// third of the word's length (at least 2 edits).
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace dualpath
