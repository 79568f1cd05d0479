// KvCache: the keys and values of one sequence, so that its next tokens need not run the earlier
// ones again. An entry for each attention that a pass over the model executes, in that order: a
// dual-path layer has K+1 (the wide path's and K deep iterations'; with shared attention, the wide
// path and iteration 1 have one together), a looped layer K, any other 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device/device.h"

namespace dualpath {

class KvCache {
 public:
  struct Entry {
    Tensor keys_PGE;  // rotated and normed
    Tensor values_PGE;
  };

  // Empty, with room for `capacity` positions. Throws Error(configuration) where the memory is not
  // to be had.
  KvCache(std::int64_t entries, std::int64_t capacity, std::int64_t kv_heads,
          std::int64_t head_size, DType dtype, Device& device);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t length() const { return length_; }  // tokens held, at positions [0, length)
  // Forgets the tokens from position `length` on. REQUIRES: length <= length().
  void truncate(std::int64_t length);

  // One pass over the model: begin, one next() for each attention, end, which joins the tokens.
  void begin_pass() { next_ = 0; }
  Entry next();
  void end_pass(std::int64_t tokens);

 private:
  std::int64_t capacity_;
  Buffer memory_;
  Tensor keys_;    // [entries, P, G, E]
  Tensor values_;  // the same
  std::int64_t length_ = 0;
  std::int64_t next_ = 0;
};

}  // namespace dualpath
