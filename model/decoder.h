// Decoder: logits of the token that follows a growing text, of whatever length. The model sees a
// window of the text's last tokens, whose keys and values are cached. When the window is full, its
// later half becomes the new window and is read again from position 0, so that no position is
// beyond those of training: the model always sees at least half of what the window holds.
#pragma once

#include <span>
#include <vector>

#include "model/model.h"

namespace dualpath {

// The same gates for every token, an intervention; negative: the token's own.
class ConstantGates {
 public:
  // For passes of at most max_tokens tokens of a model that computes in f32.
  ConstantGates(float deep, float wide, std::int64_t max_tokens, Device& device, Stream& stream);
  const GateForcing& forcing() const { return forcing_; }

 private:
  Buffer memory_;
  GateForcing forcing_;
};

class Decoder {
 public:
  // A window of `capacity` tokens, at most the model's sequence_length. All memory is taken here.
  Decoder(Model& model, std::int64_t capacity);

  // Appends ids (at least one) to the text. The logits [1, V], in host memory that the next call
  // reuses.
  Tensor append(std::span<const std::int32_t> ids);
  // Starts an empty text.
  void restart();

 private:
  Tensor logits(std::span<const std::int32_t> ids);

  Model& model_;
  KvCache cache_;
  std::vector<std::int32_t> window_;
  Buffer logits_;  // host memory
};

}  // namespace dualpath
