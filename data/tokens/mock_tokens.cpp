#include <algorithm>

#include "core/base/error.h"
#include "data/tokens/sample_source.h"

namespace dualpath {

MockTokens::MockTokens(std::uint64_t seed, std::uint64_t vocab_size, std::int64_t sequence_length,
                       std::string_view stream)
    : rng_(seed, stream), vocab_size_(vocab_size), sequence_length_(sequence_length) {
  CHECK(vocab_size > 0 && sequence_length > 0, "mock tokens of a vocabulary of {}, {} a sample",
        vocab_size, sequence_length);
}

void MockTokens::read(std::uint64_t sample, std::span<std::int32_t> inputs,
                      std::span<std::int32_t> targets) const {
  const auto length = static_cast<std::uint64_t>(sequence_length_);
  const std::uint64_t first = sample * (length + 1);
  for (std::uint64_t i = 0; i <= length; ++i) {
    const auto token = static_cast<std::int32_t>(rng_.below(first + i, vocab_size_));
    if (i < length) inputs[i] = token;
    if (i > 0) targets[i - 1] = token;
  }
}

}  // namespace dualpath
