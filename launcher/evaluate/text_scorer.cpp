#include "launcher/evaluate/text_scorer.h"

#include <cmath>
#include <cstring>

namespace dualpath {

namespace {

// Throws Error(numerics) where a model gives no finite number.
TextScore sum(std::span<const TokenScore> tokens) {
  TextScore score;
  for (const TokenScore& token : tokens) {
    CHECK_AS(ExitCode::numerics, std::isfinite(token.nats),
             "the model gives a token the log-likelihood {}", -token.nats);
    score.log_likelihood -= token.nats;
    score.is_greedy &= token.is_greedy;
  }
  return score;
}

}  // namespace

std::vector<TextScore> TextScorer::score(std::span<const ScoredText> texts,
                                         const Progress& progress) {
  const std::vector<TextPack> packs =
      pack_texts(texts, scorer_.max_rows(), gates_ ? Beginnings::apart : Beginnings::shared);
  const auto size = static_cast<std::size_t>(ranks_.size());
  std::vector<TextScore> scores(texts.size());
  for (std::size_t p = static_cast<std::size_t>(ranks_.rank()); p < packs.size(); p += size) {
    gates_ ? score_apart(texts, packs[p], scores) : score_shared(texts, packs[p], scores);
    if (progress) progress(static_cast<double>(p + 1) / static_cast<double>(packs.size()));
  }
  if (size > 1) exchange(packs, scores);
  return scores;
}

void TextScorer::score_shared(std::span<const ScoredText> texts, const TextPack& pack,
                              std::vector<TextScore>& scores) {
  const PackRows packed = rows_of_pack(texts, pack);
  tokens_.resize(packed.rows.targets.size());
  scorer_.score(packed.rows, tokens_);
  // Of the pieces, each with all before it.
  std::vector<TextScore> so_far;
  for (const PackRows::Piece& piece : packed.pieces) {
    TextScore score = sum(std::span(tokens_).subspan(piece.first_target, piece.num_targets));
    if (piece.parent >= 0) score += so_far[static_cast<std::size_t>(piece.parent)];
    so_far.push_back(score);
  }
  for (std::size_t i = 0; i < pack.size(); ++i)
    scores[pack[i]] = so_far[static_cast<std::size_t>(packed.last_piece[i])];
}

void TextScorer::score_apart(std::span<const ScoredText> texts, const TextPack& pack,
                             std::vector<TextScore>& scores) {
  const TextRows rows = separate_rows(texts, pack);
  tokens_.resize(rows.targets.size());
  ForcedGates gates;
  for (const TextRows::Segment& text : rows.segments)
    gates_(std::span(rows.ids).subspan(static_cast<std::size_t>(text.begin),
                                       static_cast<std::size_t>(text.end - text.begin)),
           text.begin, gates);
  scorer_.score(rows, tokens_, &gates);
  std::span<const TokenScore> rest = tokens_;
  for (const std::size_t index : pack) {
    const ScoredText& text = texts[index];
    scores[index] = sum(rest.subspan(text.first_scored - 1, text.num_scored()));
    rest = rest.subspan(text.num_rows());
  }
}

// Every rank has scored its own packs: now all get all.
void TextScorer::exchange(std::span<const TextPack> packs, std::vector<TextScore>& scores) {
  const auto size = static_cast<std::size_t>(ranks_.size());
  std::string own;
  for (std::size_t p = static_cast<std::size_t>(ranks_.rank()); p < packs.size(); p += size) {
    for (const std::size_t text : packs[p])
      own.append(reinterpret_cast<const char*>(&scores[text]), sizeof(TextScore));
  }
  const std::vector<std::string> all = ranks_.all_gather(own);
  std::vector<std::size_t> read(size, 0);
  for (std::size_t p = 0; p < packs.size(); ++p) {
    for (const std::size_t text : packs[p]) {
      std::size_t& at = read[p % size];
      std::memcpy(&scores[text], all[p % size].data() + at, sizeof(TextScore));
      at += sizeof(TextScore);
    }
  }
}

}  // namespace dualpath
