// What a model's layers do with every token of some texts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "launcher/evaluate/intervention.h"
#include "launcher/routes/route_texts.h"
#include "model/scorer.h"

namespace dualpath {

// N tokens, L layers, K iterations. NaN where a layer has no such thing.
struct RouteTable {
  std::size_t layers = 0, iterations = 0, tokens = 0;
  // [N]
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> positions;  // within the sequence that the model read
  std::vector<std::uint8_t> classes;
  std::vector<std::uint32_t> corpora;
  std::vector<std::uint32_t> texts;
  std::vector<float> nats;  // of the token that follows; NaN where none does
  // [L, N]: g_d, g_w, H(g_d/(g_d+g_w)) in nats, ρ_d = g_d‖Δ_d‖/(g_d‖Δ_d‖+g_w‖Δ_w‖), cos(Δ_d, Δ_w),
  // ‖x‖, ‖Δ_d‖, ‖Δ_w‖, Σ_k k·weight_k
  std::vector<float> gate_deep, gate_wide, gate_entropy, deep_share, cosine;
  std::vector<float> input_norm, deep_update_norm, wide_update_norm, expected_iterations;
  // [L, K, N]: mixture weights, the router's q, ‖hᵏ - hᵏ⁻¹‖
  std::vector<float> weights, q, changes;

  float at(const std::vector<float>& values, std::size_t layer, std::size_t token) const {
    return values[layer * tokens + token];
  }
};

// Reads each text in sequences of at most the model's sequence_length tokens, as in training.
// Throws Error(numerics) where a number is not finite.
RouteTable read_routes(const RouteTexts& texts, Scorer& scorer, const InterventionConfig& intervene,
                       const Tokenizer& tokenizer, std::int64_t sequence_length);

// routes.h5: the table, flat, row-major datasets "tokens/NAME" [N], "layers/NAME" [L, N] and
// "iterations/NAME" [L, K, N]; the root's attributes tokens, layers, iterations, classes and
// corpora (names, a line each). Throws Error(checkpoint).
void write_routes(const RouteTable& table, const RouteTexts& texts,
                  const std::filesystem::path& path);

}  // namespace dualpath
