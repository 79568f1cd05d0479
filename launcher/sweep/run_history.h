// What a run's metrics.jsonl tells of its course.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace dualpath {

struct TokenCurve {
  std::vector<double> tokens;  // ascending
  std::vector<double> values;  // as many, all finite
};

// What metrics.jsonl has of each layer, one value a layer.
struct Readout {
  const char* name;  // in metrics.jsonl
  const char* title;
  const char* unit;
};
inline constexpr std::array readouts = {
    Readout{"deep_share", "Share of the deep path in the update", "mean over tokens"},
    Readout{"gate_deep", "Gate of the deep path", "mean over tokens"},
    Readout{"gate_wide", "Gate of the wide path", "mean over tokens"},
    Readout{"gate_entropy", "Entropy of the gates", "nats"},
    Readout{"cosine", "Cosine between the paths' updates", "mean over tokens"},
    Readout{"expected_iterations", "Expected iterations of the deep path", "iterations"},
};
// In the order of `readouts`: means over the last steps; empty where the model has no such value.
using LayerReadouts = std::array<std::vector<double>, readouts.size()>;

struct RunHistory {
  std::int64_t last_step = 0;  // 0: none yet
  TokenCurve training;         // nats a token; values that are not finite are left out
  TokenCurve validation;
  std::optional<double> training_loss;    // mean over the last steps
  std::optional<double> validation_loss;  // the last one
  std::optional<double> bits_per_byte;
  LayerReadouts layers;
};

// Means are taken over this many last steps.
inline constexpr std::size_t last_steps_averaged = 20;

// A mean or a last value is left out where it is not of finite values. Lines that are no JSON (a
// run under way is writing one) are passed over; a file that is not there is a run without steps.
// Throws Error(checkpoint) where it cannot be read.
RunHistory read_history(const std::filesystem::path& metrics);

// At most `points` points: means over stretches of tokens that are equal on a logarithmic axis.
// REQUIRES: points > 0, tokens > 0.
TokenCurve thinned(const TokenCurve& curve, std::size_t points);

}  // namespace dualpath
