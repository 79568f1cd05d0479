#include "model/decoder.h"

#include <numeric>
#include <vector>

namespace dualpath {

ConstantGates::ConstantGates(float deep, float wide, std::int64_t max_tokens, Device& device,
                             Stream& stream) {
  const auto tokens = static_cast<std::size_t>(max_tokens);
  const std::size_t pairs = tokens * 2 * sizeof(float);
  memory_ = device.allocate(2 * pairs + tokens * sizeof(std::int32_t));
  forcing_ = {.forced_T2 = {memory_.data(), DType::f32, {max_tokens, 2}},
              .source_T = {memory_.data() + 2 * pairs, DType::i32, {max_tokens}},
              .own_T2 = {memory_.data() + pairs, DType::f32, {max_tokens, 2}}};
  std::vector<float> forced;
  for (std::size_t t = 0; t < tokens; ++t) forced.insert(forced.end(), {deep, wide});
  std::vector<std::int32_t> own(tokens);
  std::iota(own.begin(), own.end(), 0);
  device.copy_to_device(forcing_.forced_T2, forced.data(), stream);
  device.copy_to_device(forcing_.source_T, own.data(), stream);
  stream.synchronize();
}

Decoder::Decoder(Model& model, std::int64_t capacity)
    : model_(model),
      cache_(model.make_cache(capacity)),
      logits_(model.device().allocate_host(static_cast<std::size_t>(model.config().vocab_size) *
                                           size_of(model.parameters().types().master))) {
  window_.reserve(static_cast<std::size_t>(capacity + 1));
}

Tensor Decoder::append(std::span<const std::int32_t> ids) {
  window_.insert(window_.end(), ids.begin(), ids.end());
  const auto capacity = static_cast<std::size_t>(cache_.capacity());
  if (window_.size() <= capacity) return logits(ids);
  const std::size_t kept = (capacity + 1) / 2;
  window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(kept));
  cache_.truncate(0);
  return logits(window_);
}

Tensor Decoder::logits(std::span<const std::int32_t> ids) {
  Tensor logits_1V = model_.logits(ids, true, &cache_);
  model_.device().copy_to_host(logits_.data(), logits_1V, model_.stream());
  model_.stream().synchronize();
  logits_1V.data = logits_.data();
  return logits_1V;
}

void Decoder::restart() {
  window_.clear();
  cache_.truncate(0);
}

}  // namespace dualpath
