// Scorer: how well a model foresees tokens of many texts at once. The texts of a pass share the
// rows of their common beginnings, and no row is padding.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/rope.h"

namespace dualpath {

// The rows of a pass, one a token.
struct TextRows {
  struct Segment {
    std::int32_t begin, end;  // rows
    std::int32_t parent;      // the segment that it continues, an earlier one; -1: it begins a text
  };
  std::vector<Segment> segments;        // cover the rows in their order
  std::vector<std::int32_t> ids;        // [T]
  std::vector<std::int32_t> positions;  // [T] within the text, below the model's sequence_length
  std::vector<std::int32_t> targets;    // the tokens that follow the last rows, one each; -1: none

  void clear();
  std::int64_t num_rows() const { return static_cast<std::int64_t>(ids.size()); }
  // The rows of the longest segment; the pairs of a row and a row that it attends to.
  std::int64_t longest_segment() const;
  double attended_pairs() const;
};

// An intervention on the gates of every dual-path layer.
struct ForcedGates {
  std::vector<float> forced;         // [T, 2], deep and wide; negative: not forced
  std::vector<std::int32_t> source;  // [T]: the row whose gates a row gets
};

// TokenReadouts in host memory, L layers, K iterations; NaN where a layer has no such thing.
struct RowReadouts {
  std::int64_t layers = 0, iterations = 0, rows = 0;
  std::vector<float> paths;    // [L, T, op::PathReadout::num_columns]
  std::vector<float> norms;    // [L, TokenReadouts::num_norms, T]
  std::vector<float> weights;  // [L, K, T]
  std::vector<float> q;        // [L, K, T]
  std::vector<float> changes;  // [L, K, T]
};

struct TokenScore {
  double nats = 0;         // -log p(target | the text before it); 0 for no target
  bool is_greedy = false;  // no token is likelier
};

class Scorer {
 public:
  // Passes of at most max_rows rows, at most the model's micro_batch_size·sequence_length. All
  // memory is taken here. REQUIRES: the model is whole.
  Scorer(Model& model, std::int64_t max_rows);

  std::int64_t max_rows() const { return max_rows_; }
  // scores[i] = the score of rows.targets[i]. gates: null where they are the model's own.
  // readouts =, if not null; of models that compute in f32.
  void score(const TextRows& rows, std::span<TokenScore> scores, const ForcedGates* gates = nullptr,
             RowReadouts* readouts = nullptr);

 private:
  template <class Real>
  RopeTables upload_angles(const TextRows& rows);
  template <class Real>
  GateForcing upload_gates(const ForcedGates& gates);
  template <class Real>
  void read_scores(const TextRows& rows, Tensor statistics_RS3, std::span<TokenScore> scores);
  TokenReadouts place_readouts(std::int64_t rows);
  void read(const TokenReadouts& readouts, RowReadouts& out);
  template <class Real>
  void score_as(const TextRows& rows, std::span<TokenScore> scores, const ForcedGates* gates,
                RowReadouts* readouts);

  Model& model_;
  std::int64_t max_rows_;
  RopeAngles<double> angles_;
  std::int64_t iterations_ = 0;  // the most that a layer has
  Buffer segments_, cosines_, sines_, statistics_;
  Buffer gates_, readouts_;  // taken when they are needed first
};

}  // namespace dualpath
