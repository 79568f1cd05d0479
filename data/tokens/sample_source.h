// SampleSource: training or validation samples by number. Sample i is sequence_length inputs and,
// for each, the token that follows it. What a sample holds depends on nothing but its number.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/random.h"

namespace dualpath {

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual std::int64_t sequence_length() const = 0;
  // Token ids are in [0, vocab_size()).
  virtual std::uint64_t vocab_size() const = 0;
  // Fills both spans, of sequence_length() each; a target of -1 means there is none. Any thread
  // may call; allocates nothing.
  virtual void read(std::uint64_t sample, std::span<std::int32_t> inputs,
                    std::span<std::int32_t> targets) const = 0;
};

// Uniformly random tokens, to try things out and to measure speed.
class MockTokens final : public SampleSource {
 public:
  // Tokens of two streams have nothing to do with each other.
  MockTokens(std::uint64_t seed, std::uint64_t vocab_size, std::int64_t sequence_length,
             std::string_view stream = "mock tokens");
  std::int64_t sequence_length() const override { return sequence_length_; }
  std::uint64_t vocab_size() const override { return vocab_size_; }
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override;

 private:
  CounterRng rng_;
  std::uint64_t vocab_size_;
  std::int64_t sequence_length_;
};

}  // namespace dualpath
