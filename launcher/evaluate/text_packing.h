// Which texts a pass scores together. Texts whose unscored beginnings agree share these rows: the
// choices of a question share the question, a few-shot task its examples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/scorer.h"

namespace dualpath {

// The tokens from first_scored on are to be scored, given all before them. REQUIRES:
// 1 <= first_scored < tokens.size() <= the model's sequence_length + 1.
struct ScoredText {
  std::vector<std::int32_t> tokens;
  std::size_t first_scored;

  std::size_t num_scored() const { return tokens.size() - first_scored; }
  // What the rows before the first that is scored hold. The token before the first scored one has
  // a row of its own, whose logits are needed.
  std::span<const std::int32_t> beginning() const {
    return std::span(tokens).first(first_scored - 1);
  }
};

// Texts, by their number, that fit into one pass.
using TextPack = std::vector<std::size_t>;

enum class Beginnings { shared, apart };

// Deals all texts into packs of at most max_rows rows. Depends on nothing else. REQUIRES: each text
// fits alone.
std::vector<TextPack> pack_texts(std::span<const ScoredText> texts, std::int64_t max_rows,
                                 Beginnings beginnings = Beginnings::shared);

// The rows of a pack. Its targets are those of its texts, one text after another.
TextRows rows_of_pack(std::span<const ScoredText> texts, const TextPack& pack);
// The same where a text's rows stand together and are its own. All of them have targets, -1 those
// of the beginning.
TextRows separate_rows(std::span<const ScoredText> texts, const TextPack& pack);

}  // namespace dualpath
