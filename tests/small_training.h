// A small model and a task that it learns in a few steps.
#pragma once

#include "data/tokens/sample_source.h"
#include "launcher/train/trainer.h"
#include "model/resolve_config.h"

namespace dualpath {

inline TrainerOptions small_options(const NumericTypes& types = {}) {
  ModelConfig model;
  model.layers = 2;
  model.hidden_size = 32;
  model.attention_heads = 4;
  model.sequence_length = 24;
  model.vocab_size = 64;
  model.deep.iterations = 2;
  model.deep.ffn_hidden_size = 32;
  model.wide.ffn_hidden_size = 64;
  TrainerOptions o{.model = resolve(model)};
  o.types = types;
  o.optimizer.lr = 1e-2;
  o.optimizer.warmup_steps = 4;
  o.global_batch_size = 8;
  o.micro_batch_size = 2;
  o.total_steps = 40;
  return o;
}

// Each token is followed by the next one modulo the vocabulary: learnable in a few steps.
class CountingTokens final : public SampleSource {
 public:
  std::int64_t sequence_length() const override { return 24; }
  std::uint64_t vocab_size() const override { return 64; }
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = static_cast<std::int32_t>((sample * 17 + i) % 64);
      targets[i] = static_cast<std::int32_t>((sample * 17 + i + 1) % 64);
    }
  }
};

}  // namespace dualpath
