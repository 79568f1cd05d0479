// Which texts a pass scores together. Texts that begin alike share these rows: the choices of a
// question share the question, a few-shot task its examples.
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
  std::size_t num_rows() const { return tokens.size() - 1; }
  // The token that follows row t, if it is scored, else -1.
  std::int32_t target(std::size_t t) const { return t + 1 < first_scored ? -1 : tokens[t + 1]; }
};

// Texts, by their number, that fit into one pass.
using TextPack = std::vector<std::size_t>;

enum class Beginnings { shared, apart };

// Deals all texts into packs of at most max_rows rows. Depends on nothing else. REQUIRES: each text
// fits alone.
std::vector<TextPack> pack_texts(std::span<const ScoredText> texts, std::int64_t max_rows,
                                 Beginnings beginnings = Beginnings::shared);

// The rows of a pack. Two texts share the rows in which they agree from their first token on, in
// the token and in what is scored of it.
struct PackRows {
  // Consecutive targets of `rows`, scored for all texts that go through them.
  struct Piece {
    std::int32_t parent;  // the piece of the same texts before it; -1: none
    std::size_t first_target, num_targets;
  };
  TextRows rows;
  std::vector<Piece> pieces;             // a parent comes before
  std::vector<std::int32_t> last_piece;  // of each text of the pack
};
PackRows rows_of_pack(std::span<const ScoredText> texts, const TextPack& pack);
// Rows where a text's stand together and are its own. All have targets, -1 those that are not
// scored.
TextRows separate_rows(std::span<const ScoredText> texts, const TextPack& pack);

}  // namespace dualpath
