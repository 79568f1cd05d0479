#include "model/decoder.h"

namespace dualpath {

Decoder::Decoder(Model& model, std::int64_t capacity)
    : model_(model), cache_(model.make_cache(capacity)) {
  window_.reserve(static_cast<std::size_t>(capacity + 1));
}

Tensor Decoder::append(std::span<const std::int32_t> ids) {
  window_.insert(window_.end(), ids.begin(), ids.end());
  const auto capacity = static_cast<std::size_t>(cache_.capacity());
  if (window_.size() <= capacity) return model_.logits(ids, true, &cache_);
  const std::size_t kept = (capacity + 1) / 2;
  window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(kept));
  cache_.truncate(0);
  return model_.logits(window_, true, &cache_);
}

void Decoder::restart() {
  window_.clear();
  cache_.truncate(0);
}

}  // namespace dualpath
