// Attention of a few queries to all cached keys, at the speed of reading the cache: decoding.
// Blocks of queries (attention_forward.cpp) would leave most lanes empty.
#pragma once

#include "core/cpu/scratch.h"
#include "core/ops.h"

namespace dualpath {

// For up to so many queries a head this is faster than blocks of queries (break-even: 11 or 12).
inline constexpr std::int64_t few_queries = 8;

// The operands of Ops::cached_attention; the new values are in the cache.
struct CachedAttention {
  float* out_THE;
  float* log_sum_TH;
  const float* q_THE;
  const float* keys_PGE;
  const float* values_PGE;
  AttentionShape shape;
};

void attend_few(const CachedAttention& call, int num_threads, Scratch& scratch);

}  // namespace dualpath
