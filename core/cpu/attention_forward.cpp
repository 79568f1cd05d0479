#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/attention_numbers.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/few_queries.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/vector_math.h"

namespace dualpath {
namespace {

// Online softmax of one chunk of queries (arXiv 2205.14135): over the keys seen so far, the
// largest score, Σ exp(score - max), and Σ exp(score - max)·value.
struct Chunk {
  alignas(64) float max[chunk_queries];
  alignas(64) float sum[chunk_queries];
};

// q, keys and values pair along e, e and keys (attention_numbers.h).
template <class Numbers>
struct Workspace {
  Chunk* chunks;
  float* q;       // [chunk][E][lane]
  float* out;     // [chunk][E][lane], floats
  float* keys;    // [key][E]
  float* values;  // [key][E]
  float* scores;  // [key][lane], floats
  float* paired;  // the scores as pairs along keys

  static constexpr std::int64_t num_chunks = block_queries / chunk_queries;
  static constexpr std::int64_t num_scores = block_keys * chunk_queries;
  Workspace(std::byte* memory, std::int64_t E) {
    ScratchCutter cutter(memory);
    chunks = cutter.take<Chunk>(num_chunks);
    q = cutter.take<float>(block_queries * units<Numbers>(E));
    out = cutter.take<float>(block_queries * E);
    keys = cutter.take<float>(block_keys * units<Numbers>(E));
    values = cutter.take<float>(units<Numbers>(block_keys) * E);
    scores = cutter.take<float>(num_scores);
    paired = cutter.take<float>(num_scores);
  }
  static std::int64_t bytes(std::int64_t E) {
    return ScratchCutter::bytes<Chunk>(num_chunks) +
           2 * ScratchCutter::bytes<float>(block_queries * E) +
           2 * ScratchCutter::bytes<float>(block_keys * E) +
           2 * ScratchCutter::bytes<float>(num_scores);
  }
};

// Hides keys later than the query; key and query are the positions of the first row and lane.
void mask_scores(float* scores, std::int64_t keys, std::int64_t key, std::int64_t query) {
  for (std::int64_t j = 0; j < keys; ++j)
    std::fill_n(scores + j * chunk_queries,
                std::clamp<std::int64_t>(key + j - query, 0, chunk_queries), -INFINITY);
}

// scores = exp(scores - max) with the new max; out and the sums before are brought to it.
void soften(float* scores, std::int64_t keys, Chunk& chunk, float* out, std::int64_t E) {
  alignas(64) float max[chunk_queries];
  alignas(64) float sum[chunk_queries] = {};
  alignas(64) float shrink[chunk_queries];
  std::copy_n(chunk.max, chunk_queries, max);
  for (std::int64_t j = 0; j < keys; ++j) {
    const float* row = scores + j * chunk_queries;
#pragma omp simd
    for (int i = 0; i < chunk_queries; ++i) max[i] = row[i] > max[i] ? row[i] : max[i];
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    float* row = scores + j * chunk_queries;
#pragma omp simd
    for (int i = 0; i < chunk_queries; ++i) {
      row[i] = simd_exp(row[i] - max[i]);
      sum[i] += row[i];
    }
  }
#pragma omp simd
  for (int i = 0; i < chunk_queries; ++i) {
    shrink[i] = simd_exp(chunk.max[i] - max[i]);
    chunk.sum[i] = chunk.sum[i] * shrink[i] + sum[i];
    chunk.max[i] = max[i];
  }
  scale_lanes(out, shrink, E);
}

template <class O>
struct Head {
  HeadRows<O> out;
  HeadRows<float> log_sum;
  HeadRows<const O> q, k, v;
};

// The queries [begin, begin + block_queries) of one head.
template <class O>
void attend_block(const Head<O>& head, std::int64_t begin, std::int64_t positions, std::int64_t E,
                  const Workspace<NumbersOf<O>>& work) {
  using Numbers = NumbersOf<O>;
  const std::int64_t end = std::min(begin + block_queries, positions);
  const std::int64_t chunk_size = chunk_queries * E;
  const std::int64_t q_size = chunk_queries * units<Numbers>(E);
  const float scale = 1.0F / std::sqrt(static_cast<float>(E));
  for (std::int64_t query = begin, c = 0; query < end; query += chunk_queries, ++c) {
    Numbers::load_lanes(work.q + c * q_size, head.q, query, end - query, E);
    std::fill_n(work.out + c * chunk_size, chunk_size, 0.0F);
    std::fill_n(work.chunks[c].max, chunk_queries, -INFINITY);
    std::fill_n(work.chunks[c].sum, chunk_queries, 0.0F);
  }
  for (std::int64_t key = 0; key < end; key += block_keys) {
    const std::int64_t block = std::min(block_keys, end - key);
    Numbers::load_rows(work.keys, units<Numbers>(E), head.k, key, block, E);
    Numbers::load_row_pairs(work.values, E, head.v, key, block, E);
    for (std::int64_t query = begin, c = 0; query < end; query += chunk_queries, ++c) {
      const std::int64_t keys = visible_keys(key, query, end);
      if (keys <= 0) continue;
      multiply_block<Numbers, false>(
          {work.scores, chunk_queries}, {work.keys, units<Numbers>(E), 1},
          {work.q + c * q_size, chunk_queries}, {keys, chunk_queries, units<Numbers>(E)}, scale);
      if (key + keys > query) mask_scores(work.scores, keys, key, query);
      soften(work.scores, keys, work.chunks[c], work.out + c * chunk_size, E);
      const float* p =
          Numbers::pair_rows(work.paired, work.scores, chunk_queries, keys, chunk_queries);
      multiply_block<Numbers, true>({work.out + c * chunk_size, chunk_queries}, {work.values, 1, E},
                                    {p, chunk_queries}, {E, chunk_queries, units<Numbers>(keys)});
    }
  }
  for (std::int64_t query = begin, c = 0; query < end; query += chunk_queries, ++c) {
    const Chunk& chunk = work.chunks[c];
    alignas(64) float shares[chunk_queries];
    for (std::int64_t i = 0; i < chunk_queries; ++i) shares[i] = 1.0F / chunk.sum[i];
    scale_lanes(work.out + c * chunk_size, shares, E);
    store_chunk(head.out, work.out + c * chunk_size, query, end - query, E);
    for (std::int64_t i = 0; i < std::min(chunk_queries, end - query); ++i)
      *head.log_sum[query + i] = chunk.max[i] + std::log(chunk.sum[i]);
  }
}

// All queries of all heads; head_of(s, h) has the rows of head h of sequence s.
template <class O, class HeadOf>
void attend(int num_threads, Scratch& scratch, const AttentionShape& shape, const HeadOf& head_of) {
  const std::int64_t H = shape.heads, E = shape.head_size;
  const std::int64_t end = shape.first_position + shape.positions;
  using Work = Workspace<NumbersOf<O>>;
  scratch.reserve(Work::bytes(E));
  const std::int64_t blocks = (shape.positions + block_queries - 1) / block_queries;
  const std::int64_t cost = block_queries * end * E;
  parallel_tasks(num_threads, {shape.sequences * H * blocks, cost},
                 [&](std::int64_t task, int thread) {
                   // Late blocks, the longest, first.
                   const std::int64_t block = blocks - 1 - task % blocks;
                   attend_block(head_of(task / blocks / H, task / blocks % H),
                                shape.first_position + block * block_queries, end, E,
                                Work(scratch.of(thread), E));
                 });
}

}  // namespace

void CpuOps::compute(const op::Attention& op) {
  const AttentionShape shape = op.shape;
  const std::int64_t H = shape.heads, G = shape.kv_heads;
  float* log_sum = op.log_sum_TH.as<float>();
  with_type(op.out_THE, [&]<class O>() {
    O* out = op.out_THE.as<O>();
    const O* q = op.q_THE.as<O>();
    const O* k = op.k_TGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    attend<O>(num_threads_, scratch_, shape, [=](std::int64_t s, std::int64_t h) -> Head<O> {
      const std::int64_t g = h / (H / G);
      return {head_rows(out, shape, H, s, h),
              {log_sum + s * shape.positions * H + h, H},
              head_rows(q, shape, H, s, h),
              head_rows(k, shape, G, s, g),
              value_rows(qkv, shape, s, g)};
    });
  });
}

void CpuOps::compute(const op::CachedAttention& op) {
  const AttentionShape shape = op.shape;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size;
  const std::int64_t first = shape.first_position;
  float* log_sum = op.log_sum_TH.as<float>();
  with_type(op.out_THE, [&]<class O>() {
    O* out = op.out_THE.as<O>();
    O* values = op.values_PGE.as<O>();
    const O* q = op.q_THE.as<O>();
    const O* keys = op.keys_PGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    parallel_for(num_threads_, {shape.positions, G * E}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        std::copy_n(qkv + (t * (H + 2 * G) + H + G) * E, G * E, values + (first + t) * G * E);
    });
    if (shape.positions <= few_queries)
      return attend_few<O>({out, log_sum, q, keys, values, shape}, num_threads_, scratch_);
    attend<O>(num_threads_, scratch_, shape, [=](std::int64_t, std::int64_t h) -> Head<O> {
      const std::int64_t g = h / (H / G);
      return {{out + h * E, H * E, first},
              {log_sum + h, H, first},
              {q + h * E, H * E, first},
              {keys + g * E, G * E},
              {values + g * E, G * E}};
    });
  });
}

}  // namespace dualpath
