#include "core/cpu/few_queries.h"

#include <cmath>

#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/vector_math.h"

namespace dualpath {
namespace {

constexpr std::int64_t block_positions = 32;

// Online softmax (arXiv 2205.14135) of every query and head, N = T·H rows, over the keys that one
// thread has seen: the largest score, Σ exp(score - max), Σ exp(score - max)·value.
struct Partial {
  float* max_N;
  float* sum_N;
  float* out_NE;
  float* scores;  // [N][block_positions]

  Partial(std::byte* memory, std::int64_t N, std::int64_t E) {
    ScratchCutter cutter(memory);
    max_N = cutter.take<float>(N);
    sum_N = cutter.take<float>(N);
    out_NE = cutter.take<float>(N * E);
    scores = cutter.take<float>(N * block_positions);
  }
  static std::int64_t bytes(std::int64_t N, std::int64_t E) {
    return 2 * ScratchCutter::bytes<float>(N) + ScratchCutter::bytes<float>(N * E) +
           ScratchCutter::bytes<float>(N * block_positions);
  }
};

// body(n, g): every row n = t·H + h with its key/value head g.
template <class Body>
void for_each_row(const AttentionShape& s, const Body& body) {
  const std::int64_t group = s.heads / s.kv_heads;
  for (std::int64_t t = 0; t < s.positions; ++t)
    for (std::int64_t h = 0; h < s.heads; ++h) body(t * s.heads + h, h / group);
}

// scores[n][j] of the positions [begin, begin + count), -inf where they are later than the query.
template <class O>
void score_block(const Partial& partial, const CachedAttention<O>& call, std::int64_t begin,
                 std::int64_t count) {
  const AttentionShape& s = call.shape;
  const std::int64_t E = s.head_size;
  const float scale = 1.0F / std::sqrt(static_cast<float>(E));
  for (std::int64_t j = 0; j < count; ++j) {
    const O* keys_GE = call.keys_PGE + (begin + j) * s.kv_heads * E;
    for_each_row(s, [=](std::int64_t n, std::int64_t g) {
      const bool visible = begin + j <= s.first_position + n / s.heads;
      partial.scores[n * block_positions + j] =
          visible ? dot(E, call.q_THE + n * E, keys_GE + g * E) * scale : -INFINITY;
    });
  }
}

// Row n: scores = exp(scores - max) with the new max; out and the sum before are brought to it.
void soften_row(const Partial& partial, std::int64_t n, std::int64_t count, std::int64_t E) {
  float* scores = partial.scores + n * block_positions;
  const float before = partial.max_N[n];
  const float max = std::max(before, *std::max_element(scores, scores + count));
  if (max == -INFINITY) {  // nothing visible yet
    std::fill_n(scores, count, 0.0F);
    return;
  }
  const float shrink = simd_exp(before - max);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < count; ++j) {
    scores[j] = simd_exp(scores[j] - max);
    sum += scores[j];
  }
  float* out = partial.out_NE + n * E;
#pragma omp simd
  for (std::int64_t e = 0; e < E; ++e) out[e] *= shrink;
  partial.sum_N[n] = partial.sum_N[n] * shrink + sum;
  partial.max_N[n] = max;
}

// out += weight·value
template <class O>
void add_weighted(float* out, const O* value, float weight, std::int64_t E) {
#pragma omp simd
  for (std::int64_t e = 0; e < E; ++e) out[e] += weight * value[e];
}

// All rows over the cached positions [piece.begin, piece.end).
template <class O>
void attend_piece(const Partial& partial, const CachedAttention<O>& call, Piece piece) {
  const AttentionShape& s = call.shape;
  const std::int64_t N = s.positions * s.heads, E = s.head_size;
  std::fill_n(partial.max_N, N, -INFINITY);
  std::fill_n(partial.sum_N, N, 0.0F);
  std::fill_n(partial.out_NE, N * E, 0.0F);
  for (std::int64_t begin = piece.begin; begin < piece.end; begin += block_positions) {
    const std::int64_t count = std::min(block_positions, piece.end - begin);
    score_block(partial, call, begin, count);
    for (std::int64_t n = 0; n < N; ++n) soften_row(partial, n, count, E);
    for (std::int64_t j = 0; j < count; ++j) {
      const O* values_GE = call.values_PGE + (begin + j) * s.kv_heads * E;
      for_each_row(s, [=](std::int64_t n, std::int64_t g) {
        add_weighted(partial.out_NE + n * E, values_GE + g * E,
                     partial.scores[n * block_positions + j], E);
      });
    }
  }
}

// Row n from the partial results of all pieces, gathered in those of piece 0.
template <class O>
void combine_row(const CachedAttention<O>& call, const Scratch& scratch, int num_pieces,
                 std::int64_t n) {
  const std::int64_t N = call.shape.positions * call.shape.heads, E = call.shape.head_size;
  float max = -INFINITY;
  for (int i = 0; i < num_pieces; ++i) max = std::max(max, Partial(scratch.of(i), N, E).max_N[n]);
  const Partial first(scratch.of(0), N, E);
  float* out = first.out_NE + n * E;
  const float own = simd_exp(first.max_N[n] - max);
  for (std::int64_t e = 0; e < E; ++e) out[e] *= own;
  float sum = own * first.sum_N[n];
  for (int i = 1; i < num_pieces; ++i) {
    const Partial partial(scratch.of(i), N, E);
    const float weight = simd_exp(partial.max_N[n] - max);
    sum += weight * partial.sum_N[n];
    add_weighted(out, partial.out_NE + n * E, weight, E);
  }
  for (std::int64_t e = 0; e < E; ++e) call.out_THE[n * E + e] = out[e] / sum;
  call.log_sum_TH[n] = max + std::log(sum);
}

}  // namespace

template <class O>
void attend_few(const CachedAttention<O>& call, int num_threads, Scratch& scratch) {
  const AttentionShape& s = call.shape;
  const std::int64_t N = s.positions * s.heads, E = s.head_size;
  scratch.reserve(Partial::bytes(N, E));
  const Scratch& partials = scratch;
  parallel_for(num_threads, {s.first_position + s.positions, 2 * N * E}, [&](Piece piece) {
    attend_piece(Partial(partials.of(piece.index), N, E), call, piece);
  });
  parallel_for(num_threads, {N, num_threads * E}, [&](Piece piece) {
    for (std::int64_t n = piece.begin; n < piece.end; ++n)
      combine_row(call, partials, num_threads, n);
  });
}

template void attend_few(const CachedAttention<float>&, int, Scratch&);
template void attend_few(const CachedAttention<bfloat16>&, int, Scratch&);

}  // namespace dualpath
