// A small model and a task that it learns in a few steps.
#pragma once

#include "data/tokens/sample_source.h"
#include "launcher/train/trainer.h"
#include "model/resolve_config.h"

namespace dualpath {

inline TrainerOptions small_options(const NumericTypes& types = {}) {
  TrainerOptions o;
  o.types = types;
  o.model.layers = 2;
  o.model.hidden_size = 32;
  o.model.attention_heads = 4;
  o.model.sequence_length = 24;
  o.model.vocab_size = 64;
  o.model.deep.iterations = 2;
  o.model.deep.ffn_hidden_size = 32;
  o.model.wide.ffn_hidden_size = 64;
  o.model = resolve(o.model);
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
