#include "model/counts.h"

#include "core/ops/ops.h"

namespace dualpath {

namespace {

bool is_deep(Architecture a) {
  return a == Architecture::looped || a == Architecture::dual_path;
}

// A = 2d² + 2d²/n_rep: weights of q, k, v and o.
std::int64_t attention_weights(const ModelConfig& c) {
  const std::int64_t d = c.hidden_size;
  return 2 * d * d + 2 * d * c.kv_heads * c.head_size();
}

std::int64_t qk_norm_weights(const ModelConfig& c) {
  return c.qk_norm == QkNorm::none ? 0 : 2 * c.head_size();
}

// B(h) = A + 3dh + 2d + 2·hd
std::int64_t sublayer_parameters(const ModelConfig& c, std::int64_t hidden_units) {
  return attention_weights(c) + 3 * c.hidden_size * hidden_units + 2 * c.hidden_size +
         qk_norm_weights(c);
}

std::int64_t deep_parameters(const ModelConfig& c) {
  const std::int64_t d = c.hidden_size;
  const std::int64_t router = c.deep.combine == LoopCombine::mixture ? d + 2 : 0;
  const std::int64_t more_norms = c.deep.iteration_norm ? 2 * d * (c.deep.iterations - 1) : 0;
  return sublayer_parameters(c, c.deep.ffn_hidden_size) + router + c.deep.iterations + more_norms;
}

// a + 6dh, a = 2A + c·T·d
double sublayer_flops(const ModelConfig& c, std::int64_t hidden_units, AttentionFlops attention) {
  const auto d = static_cast<double>(c.hidden_size);
  return 2 * static_cast<double>(attention_weights(c)) +
         static_cast<int>(attention) * static_cast<double>(c.sequence_length) * d +
         6 * d * static_cast<double>(hidden_units);
}

}  // namespace

std::int64_t layer_parameters(const ModelConfig& c, std::int64_t layer) {
  const Architecture a = c.architecture_of(layer);
  std::int64_t count = 0;
  if (is_deep(a)) count += deep_parameters(c);
  if (a != Architecture::looped) {
    count += sublayer_parameters(c, c.wide.ffn_hidden_size) + (a == Architecture::standard ? 0 : 1);
  }
  if (a == Architecture::dual_path) {
    count += gate_logits(c.gate.mode) * (c.hidden_size + 1);
    if (c.shared_attention) count -= attention_weights(c) + c.hidden_size + qk_norm_weights(c);
  }
  return count;
}

std::int64_t model_parameters(const ResolvedModelConfig& c) {
  std::int64_t count = c.vocab_size * c.hidden_size * (c.tied_embeddings ? 1 : 2) + c.hidden_size;
  for (std::int64_t layer = 0; layer < c.layers; ++layer) count += layer_parameters(c, layer);
  return count;
}

double layer_flops(const ModelConfig& c, std::int64_t layer, AttentionFlops attention) {
  const Architecture a = c.architecture_of(layer);
  const auto d = static_cast<double>(c.hidden_size);
  double flops = 0;
  if (is_deep(a)) {
    const double router = c.deep.combine == LoopCombine::mixture ? 2 * (d + 1) : 0;
    flops += static_cast<double>(c.deep.iterations) *
             (sublayer_flops(c, c.deep.ffn_hidden_size, attention) + router);
  }
  if (a != Architecture::looped) flops += sublayer_flops(c, c.wide.ffn_hidden_size, attention);
  if (a == Architecture::dual_path) {
    flops += 2 * d * static_cast<double>(gate_logits(c.gate.mode));
    if (c.shared_attention) flops -= sublayer_flops(c, 0, attention);
  }
  return flops;
}

double model_flops(const ResolvedModelConfig& c, AttentionFlops attention) {
  double flops = 2 * static_cast<double>(c.vocab_size) * static_cast<double>(c.hidden_size);
  for (std::int64_t layer = 0; layer < c.layers; ++layer) flops += layer_flops(c, layer, attention);
  return flops;
}

double training_flops(const ResolvedModelConfig& c, AttentionFlops attention) {
  return 3 * model_flops(c, attention);
}

}  // namespace dualpath
