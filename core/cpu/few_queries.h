// Attention of a few queries to all cached keys, at the speed of reading the cache: decoding.
// Blocks of queries (attention_forward.cpp) would leave most lanes empty.
#pragma once

#include "core/cpu/scratch.h"
#include "core/ops/ops.h"

namespace dualpath {

// For up to so many queries a head this is faster than blocks of queries (break-even: 11 or 12).
inline constexpr std::int64_t few_queries = 8;

// The operands of op::CachedAttention; the new values are in the cache.
template <class O>
struct CachedAttention {
  O* out_THE;
  float* log_sum_TH;
  const O* q_THE;
  const O* keys_PGE;
  const O* values_PGE;
  AttentionShape shape;
};

// For O = float and bfloat16.
template <class O>
void attend_few(const CachedAttention<O>& call, int num_threads, Scratch& scratch);

}  // namespace dualpath
