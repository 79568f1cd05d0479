// What attention's forward and backward share: how the work is cut into blocks and how blocks are
// brought into cache. Queries are lanes: a block of scores has a row for each key, and a column
// for each query of a chunk, so that softmax runs along lanes without horizontal sums.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/cpu/attention_tiles.h"
#include "core/cpu/transpose.h"
#include "core/ops/ops.h"

namespace dualpath {

inline constexpr std::int64_t chunk_queries = tile_columns;
inline constexpr std::int64_t block_queries = 4 * chunk_queries;
inline constexpr std::int64_t block_keys = 64;

// The elements of one head of one sequence: the row of position i starts at data +
// (i-first)·stride.
template <class T>
struct HeadRows {
  T* data;
  std::int64_t stride;
  std::int64_t first = 0;
  T* operator[](std::int64_t i) const { return data + (i - first) * stride; }
};

// Head `head` of a [T, heads, E] tensor at the sequence's first token.
template <class T>
HeadRows<T> head_rows(T* data, const AttentionShape& shape, std::int64_t heads,
                      std::int64_t sequence, std::int64_t head) {
  const std::int64_t stride = heads * shape.head_size;
  return {data + sequence * shape.positions * stride + head * shape.head_size, stride};
}

// The value columns of key/value head `kv_head` of qkv_TC.
template <class T>
HeadRows<T> value_rows(T* qkv, const AttentionShape& shape, std::int64_t sequence,
                       std::int64_t kv_head) {
  return head_rows(qkv, shape, shape.heads + 2 * shape.kv_heads, sequence,
                   shape.heads + shape.kv_heads + kv_head);
}

// How many of the keys [first, first + block_keys) some query of the chunk at `query` may see.
inline std::int64_t visible_keys(std::int64_t first, std::int64_t query, std::int64_t positions) {
  return std::min({block_keys, positions - first, query + chunk_queries - first});
}

// One chunk, [E][lane]: each lane times its own scale.
inline void scale_lanes(float* chunk, const float* scale, std::int64_t E) {
  for (std::int64_t e = 0; e < E; ++e) {
    float* row = chunk + e * chunk_queries;
#pragma omp simd
    for (int lane = 0; lane < chunk_queries; ++lane) row[lane] *= scale[lane];
  }
}

// out[first + lane][e] = chunk[e][lane]
template <class O>
void store_chunk(HeadRows<O> out, const float* chunk, std::int64_t first, std::int64_t rows,
                 std::int64_t E) {
  transpose(out[first], out.stride, chunk, chunk_queries, E, std::min(rows, chunk_queries));
}

}  // namespace dualpath
