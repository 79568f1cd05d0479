// Parameters and FLOPs by formula, of any config, with nothing built.
// Source: arXiv 2605.30202; the formulas count a multiply-add as two FLOPs.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace dualpath {

// REQUIRES, for one layer: kv_heads and the FFN sizes are given.
std::int64_t layer_parameters(const ModelConfig& config, std::int64_t layer);
std::int64_t model_parameters(const ResolvedModelConfig& config);

// How attention's products with the T×T scores are counted: c·T·d FLOPs per token.
enum class AttentionFlops { not_counted = 0, causal = 2, dense = 4 };

// Forward FLOPs per token.
double layer_flops(const ModelConfig& config, std::int64_t layer, AttentionFlops attention);
double model_flops(const ResolvedModelConfig& config, AttentionFlops attention);
// 3 × forward; recomputation is not counted.
double training_flops(const ResolvedModelConfig& config, AttentionFlops attention);

}  // namespace dualpath
