#include "launcher/config/memory_bounds.h"

#include <algorithm>
#include <fmt/format.h>

#include "launcher/common/text_format.h"
#include "model/counts.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

constexpr double most_bytes = 0x1p56;
constexpr double state_bytes = 16;  // of a parameter: value, gradient, two moments

// Values that a token's passes may keep, at the most.
double values_of_token(const ModelConfig& c) {
  const auto d = static_cast<double>(c.hidden_size);
  const double units =
      static_cast<double>(std::max(c.deep.ffn_hidden_size, c.wide.ffn_hidden_size));
  const double applied = static_cast<double>(c.layers) * static_cast<double>(c.deep.iterations + 1);
  return applied * (32 * d + 8 * units);
}

}  // namespace

void validate_memory(const ModelConfig& config, const TrainConfig& train, const DataConfig& data,
                     ConfigProblems& problems) {
  const ResolvedModelConfig model = resolve(config);
  const auto length = static_cast<double>(model.sequence_length);
  const double state = state_bytes * static_cast<double>(model_parameters(model));
  const double activations =
      4 * length * static_cast<double>(std::max<std::int64_t>(1, train.micro_batch_size)) *
      values_of_token(model);
  const double logits =
      4 * static_cast<double>(train.loss_chunk_tokens) * static_cast<double>(model.vocab_size);
  const double batches = 8 * length * static_cast<double>(train.global_batch_size) *
                         static_cast<double>(data.prefetch_batches);
  const auto check = [&](const char* field, double bytes, const char* what) {
    if (bytes <= most_bytes) return;
    problems.add(field, fmt::format("{} would take up to {} of memory, more than any machine has",
                                    what, size_text(bytes)));
  };
  check("model", state, "weights, gradients and moments");
  check("train.micro_batch_size", activations, "the activations of a micro-batch");
  check("train.loss_chunk_tokens", logits, "a chunk's logits");
  check("data.prefetch_batches", batches, "batches read ahead");
}

}  // namespace dualpath
