#include "model/kv_cache.h"

namespace dualpath {

KvCache::KvCache(std::int64_t entries, std::int64_t capacity, std::int64_t kv_heads,
                 std::int64_t head_size, DType dtype, Device& device)
    : capacity_(capacity) {
  const Tensor all{nullptr, dtype, {entries, capacity, kv_heads, head_size}};
  memory_ = device.allocate(2 * all.bytes());
  keys_ = {memory_.data(), dtype, all.shape};
  values_ = {memory_.data() + all.bytes(), dtype, all.shape};
}

void KvCache::truncate(std::int64_t length) {
  CHECK(0 <= length && length <= length_, "{} of {} cached tokens", length, length_);
  length_ = length;
}

KvCache::Entry KvCache::next() {
  const std::int64_t entry = next_++;
  return {keys_.row(entry), values_.row(entry)};
}

void KvCache::end_pass(std::int64_t tokens) {
  CHECK(next_ == keys_.rows(), "the pass used {} of {} cache entries", next_, keys_.rows());
  length_ += tokens;
}

}  // namespace dualpath
