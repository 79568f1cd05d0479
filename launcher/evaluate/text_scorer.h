// The log-likelihoods of texts, by the model of every rank: each scores some of the passes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "launcher/evaluate/text_packing.h"
#include "parallel/communicator.h"

namespace dualpath {

// Of the scored tokens of one text.
struct TextScore {
  double log_likelihood = 0;  // nats, natural logarithm
  bool is_greedy = true;      // at each of them no token is likelier

  TextScore& operator+=(const TextScore& more) {
    log_likelihood += more.log_likelihood;
    is_greedy &= more.is_greedy;
    return *this;
  }
};

class TextScorer {
 public:
  // The gates of one text's tokens, appended (force_gates() in intervention.h).
  using GatesOfText = std::function<void(std::span<const std::int32_t> text, std::int32_t first_row,
                                         ForcedGates& gates)>;
  // Each rank has the whole model. gates: empty where they are the model's own.
  TextScorer(Scorer& scorer, Communicator& ranks, GatesOfText gates = {})
      : scorer_(scorer), ranks_(ranks), gates_(std::move(gates)) {}

  // Called after each pass with the share of the rows that are done.
  using Progress = std::function<void(double share)>;
  // scores[i] = of texts[i], on all ranks. The ranks give the same texts. Collective.
  std::vector<TextScore> score(std::span<const ScoredText> texts, const Progress& progress = {});

 private:
  void score_shared(std::span<const ScoredText> texts, const TextPack& pack,
                    std::vector<TextScore>& scores);
  void score_apart(std::span<const ScoredText> texts, const TextPack& pack,
                   std::vector<TextScore>& scores);
  void exchange(std::span<const TextPack> packs, std::vector<TextScore>& scores);

  Scorer& scorer_;
  Communicator& ranks_;
  GatesOfText gates_;
  std::vector<TokenScore> tokens_;
};

}  // namespace dualpath
