// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "core/config/field.h"

namespace dualpath {

struct SamplingConfig {
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 1;
  std::int64_t seed = 1;
};

template <class Visitor>
void visit_fields(Visitor& visit, SamplingConfig& c) {
  visit.field(
      "temperature", c.temperature,
      {.help = "logits are divided by it; 0: always the likeliest token", .min = 0, .max = 1e4});
  visit.field("top_k", c.top_k,
              {.help = "only the k likeliest tokens; 0: all", .min = 0, .max = bounds::vocabulary});
  visit.field("top_p", c.top_p,
              {.help = "only the likeliest tokens that together have this probability",
               .min = 0,
               .max = 1});
  visit.field("seed", c.seed, {.help = "of the random choice", .min = 0, .max = bounds::seed});
}

// Draws the tokens of one text. The same seed, text number and logits give the same tokens.
class Sampler {
 public:
  Sampler(const SamplingConfig& config, std::size_t vocab_size, std::size_t text_number);
  // A token of [0, logits.size()). REQUIRES: logits.size() is the vocab_size given. Throws
  // Error(numerics) where logits are not finite.
  std::int32_t pick(std::span<const float> logits);

 private:
  double weight(std::int32_t token) const { return weights_[static_cast<std::size_t>(token)]; }
  std::span<const std::int32_t> candidates(std::span<const float> logits);

  SamplingConfig config_;
  CounterRng rng_;
  std::uint64_t drawn_ = 0;
  std::vector<double> weights_;      // of each token, its probability up to a common factor
  std::vector<std::int32_t> order_;  // of the tokens
};

// How many leading bytes of `bytes` are whole: all but a UTF-8 character that its end cuts off.
std::size_t whole_characters(std::string_view bytes);

}  // namespace dualpath
