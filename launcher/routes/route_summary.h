// Routes in figures: by layer, class of token, corpus and position.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "launcher/common/table.h"
#include "launcher/routes/route_table.h"

namespace dualpath {

// Of some tokens in one layer; NaN where the layer has no such thing. Means over the tokens.
struct RouteFigures {
  std::size_t tokens = 0;
  double gate_deep = 0, gate_wide = 0, gate_entropy = 0, deep_share = 0, cosine = 0;
  double expected_iterations = 0;
  double input_norm = 0, deep_update_norm = 0, wide_update_norm = 0;
  // The share of tokens whose deep share is below 0.05, and above 0.95.
  double collapsed_wide = 0, collapsed_deep = 0;
  double collapsed() const { return collapsed_wide + collapsed_deep; }
};

struct LayerFigures {
  RouteFigures all;
  std::array<double, 5> deep_share_percentiles;  // 5, 25, 50, 75, 95
  std::vector<double> deep_share_density;        // shares of tokens in equal bins of [0, 1]
  // exp(entropy) of the mixture over iterations, mean over tokens: between 1 and K.
  double effective_iterations = 0;
  std::vector<double> mean_weight, mean_q, mean_change;  // of each iteration
  std::vector<RouteFigures> by_class, by_corpus, by_position;
};

// Positions in the sequence: [0, 1), [1, 2), [2, 4), [4, 8), ...
std::size_t position_bucket(std::size_t position);
std::string position_bucket_name(std::size_t bucket);

struct RouteSummary {
  std::vector<LayerFigures> layers;
  std::vector<std::size_t> class_tokens;  // by class
  double nats = 0;                        // mean over tokens that one follows
};
RouteSummary summarize(const RouteTable& table, const RouteTexts& texts);

Json to_json(const RouteSummary& summary, const RouteTexts& texts);

}  // namespace dualpath
