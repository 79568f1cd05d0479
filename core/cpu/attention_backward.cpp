#include <cmath>
#include <utility>

#include "core/base/element_types.h"
#include "core/cpu/attention_numbers.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/vector_math.h"

namespace dualpath {
namespace {

// One thread's memory. Keys and values, and the sums of their gradients over the queries, are kept
// for a whole sequence; the rest for one block of queries. E' is E rounded up to tile_columns.
// Units pair along the direction in brackets (attention_numbers.h); what has none is floats.
template <class Numbers>
struct Workspace {
  float *keys, *values;         // [position][E]  (E)
  float* key_pairs;             // [position][E]  (position)
  float *dkeys, *dvalues;       // [position][E']
  float *q, *dout;              // [query][E']    (query)
  float *q_lanes, *dout_lanes;  // [chunk][E][lane]  (E)
  float* dq_lanes;              // [chunk][E][lane]
  float *log_sum, *delta;       // [query], delta = <dout, out>
  float *p, *dscores;           // [key][query]
  float *paired_p, *paired_ds;  // [key][query]   (query)
  float* chunk_ds;              // [key][lane]    (key)

  static constexpr std::int64_t num_scores = block_keys * block_queries;
  Workspace(std::byte* memory, std::int64_t positions, std::int64_t E) {
    const std::int64_t padded = round_up(E, tile_columns);
    ScratchCutter cutter(memory);
    for (float** array : {&keys, &values})
      *array = cutter.take<float>(positions * units<Numbers>(E));
    key_pairs = Numbers::per_unit == 1 ? keys : cutter.take<float>(units<Numbers>(positions) * E);
    for (float** array : {&dkeys, &dvalues}) *array = cutter.take<float>(positions * padded);
    for (float** array : {&q, &dout}) *array = cutter.take<float>(block_queries * padded);
    for (float** array : {&q_lanes, &dout_lanes, &dq_lanes})
      *array = cutter.take<float>(block_queries * E);
    for (float** array : {&log_sum, &delta}) *array = cutter.take<float>(block_queries);
    for (float** array : {&p, &dscores, &paired_p, &paired_ds})
      *array = cutter.take<float>(num_scores);
    chunk_ds = cutter.take<float>(block_keys * chunk_queries);
  }
  static std::int64_t bytes(std::int64_t positions, std::int64_t E) {
    const std::int64_t padded = round_up(E, tile_columns);
    return 3 * ScratchCutter::bytes<float>(positions * E) +
           2 * ScratchCutter::bytes<float>(positions * padded) +
           2 * ScratchCutter::bytes<float>(block_queries * padded) +
           3 * ScratchCutter::bytes<float>(block_queries * E) +
           2 * ScratchCutter::bytes<float>(block_queries) +
           4 * ScratchCutter::bytes<float>(num_scores) +
           ScratchCutter::bytes<float>(block_keys * chunk_queries);
  }
};

template <class O>
struct QueryHead {
  HeadRows<O> dq;
  HeadRows<const O> dout, out, q;
  HeadRows<const float> log_sum;
};

// Brings queries [begin, end) into the workspace; the lanes of the last chunk that stand for no
// query get zeros, which add nothing to any gradient.
template <class Numbers, class O>
void load_queries(const Workspace<Numbers>& work, const QueryHead<O>& head, std::int64_t begin,
                  std::int64_t end, std::int64_t E) {
  const std::int64_t padded = round_up(E, tile_columns);
  const std::int64_t rows = end - begin;
  const std::int64_t lanes = round_up(rows, chunk_queries);
  const std::int64_t chunk_size = chunk_queries * units<Numbers>(E);
  for (auto [to, from] : {std::pair{work.q, head.q}, {work.dout, head.dout}}) {
    Numbers::load_row_pairs(to, padded, from, begin, rows, E);
    std::fill(to + units<Numbers>(rows) * padded, to + units<Numbers>(lanes) * padded, 0.0F);
  }
  for (std::int64_t i = 0, c = 0; i < rows; i += chunk_queries, ++c) {
    Numbers::load_lanes(work.q_lanes + c * chunk_size, head.q, begin + i, rows - i, E);
    Numbers::load_lanes(work.dout_lanes + c * chunk_size, head.dout, begin + i, rows - i, E);
  }
  std::fill_n(work.dq_lanes, lanes * E, 0.0F);
  for (std::int64_t i = 0; i < lanes; ++i) {
    const bool real = i < rows;
    work.log_sum[i] = real ? *head.log_sum[begin + i] : 0.0F;
    work.delta[i] = real ? dot(E, head.dout[begin + i], head.out[begin + i]) : 0.0F;
  }
}

// p = exp(p - log_sum), where p comes in as the scores; keys later than the query get 0.
// dscores = p·(dscores - delta), where dscores comes in as dp = dout·vᵀ.
template <class Numbers>
void score_gradients(const Workspace<Numbers>& work, std::int64_t lane, std::int64_t keys,
                     std::int64_t key, std::int64_t query) {
  const float* log_sum = work.log_sum + lane;
  const float* delta = work.delta + lane;
  for (std::int64_t j = 0; j < keys; ++j) {
    float* p = work.p + j * block_queries + lane;
    float* dscores = work.dscores + j * block_queries + lane;
    const auto hidden =
        static_cast<int>(std::clamp<std::int64_t>(key + j - query, 0, chunk_queries));
#pragma omp simd
    for (int i = 0; i < chunk_queries; ++i) {
      const float e = simd_exp(p[i] - log_sum[i]);
      p[i] = i < hidden ? 0.0F : e;
      dscores[i] = p[i] * (dscores[i] - delta[i]);
    }
  }
}

// Queries [begin, end) against the keys of one block: dq_lanes, dkeys and dvalues +=, without the
// scores' scale in dq and dkeys.
template <class Numbers>
void block_gradients(const Workspace<Numbers>& work, std::int64_t begin, std::int64_t end,
                     std::int64_t key, std::int64_t E) {
  constexpr std::int64_t per_unit = Numbers::per_unit;
  const std::int64_t padded = round_up(E, tile_columns);
  const std::int64_t width = units<Numbers>(E);
  const std::int64_t block = std::min(block_keys, end - key);
  const Factors key_rows{work.keys + key * width, width, 1};
  const Factors key_columns{work.key_pairs + key / per_unit * E, 1, E};
  const Factors value_rows{work.values + key * width, width, 1};
  const float scale = 1.0F / std::sqrt(static_cast<float>(E));
  // Chunks before the block's first key see none of it.
  const std::int64_t first = std::max<std::int64_t>(0, key - begin) / chunk_queries * chunk_queries;
  const std::int64_t lanes = round_up(end - begin, chunk_queries);
  for (std::int64_t lane = first; lane < lanes; lane += chunk_queries) {
    const std::int64_t keys = visible_keys(key, begin + lane, end);
    float* dscores = work.dscores + lane;
    const BlockShape scores{keys, chunk_queries, width};
    multiply_block<Numbers, false>({work.p + lane, block_queries}, key_rows,
                                   {work.q_lanes + lane * width, chunk_queries}, scores, scale);
    multiply_block<Numbers, false>({dscores, block_queries}, value_rows,
                                   {work.dout_lanes + lane * width, chunk_queries}, scores);
    score_gradients(work, lane, keys, key, begin + lane);
    const float* ds =
        Numbers::pair_rows(work.chunk_ds, dscores, block_queries, keys, chunk_queries);
    multiply_block<Numbers, true>({work.dq_lanes + lane * E, chunk_queries}, key_columns,
                                  {ds, per_unit == 1 ? block_queries : chunk_queries},
                                  {E, chunk_queries, units<Numbers>(keys)});
    for (std::int64_t j = keys; j < block; ++j) {
      std::fill_n(work.p + j * block_queries + lane, chunk_queries, 0.0F);
      std::fill_n(dscores + j * block_queries, chunk_queries, 0.0F);
    }
  }
  const float* p = Numbers::pair_columns(work.paired_p, work.p, block, block_queries);
  const float* ds = Numbers::pair_columns(work.paired_ds, work.dscores, block, block_queries);
  const std::int64_t row = units<Numbers>(block_queries);
  const std::int64_t from = first / per_unit;
  const std::int64_t steps = (lanes - first) / per_unit;
  const BlockShape gradients{block, padded, steps};
  multiply_block<Numbers, true>({work.dvalues + key * padded, padded}, {p + from, row, 1},
                                {work.dout + from * padded, padded}, gradients);
  multiply_block<Numbers, true>({work.dkeys + key * padded, padded}, {ds + from, row, 1},
                                {work.q + from * padded, padded}, gradients);
}

template <class Numbers, class O>
void query_head_gradients(const Workspace<Numbers>& work, const QueryHead<O>& head,
                          std::int64_t positions, std::int64_t E) {
  alignas(64) float scales[chunk_queries];
  std::fill_n(scales, chunk_queries, 1.0F / std::sqrt(static_cast<float>(E)));
  for (std::int64_t begin = 0; begin < positions; begin += block_queries) {
    const std::int64_t end = std::min(begin + block_queries, positions);
    load_queries(work, head, begin, end, E);
    for (std::int64_t key = 0; key < end; key += block_keys)
      block_gradients(work, begin, end, key, E);
    for (std::int64_t i = 0; i < end - begin; i += chunk_queries) {
      scale_lanes(work.dq_lanes + i * E, scales, E);
      store_chunk(head.dq, work.dq_lanes + i * E, begin + i, end - begin - i, E);
    }
  }
}

}  // namespace

// One task: one key/value head of one sequence, with the query heads of its group in turn.
void CpuOps::compute(const op::AttentionBackward& op) {
  const AttentionShape shape = op.shape;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size;
  const std::int64_t P = shape.positions;
  const std::int64_t padded = round_up(E, tile_columns);
  const float* log_sum = op.log_sum_TH.as<float>();
  const float scale = 1.0F / std::sqrt(static_cast<float>(E));
  const Scratch* scratch = &scratch_;
  const std::int64_t cost = P * P * E * (H / G);
  with_type(op.out_THE, [&]<class O>() {
    using Numbers = NumbersOf<O>;
    scratch_.reserve(Workspace<Numbers>::bytes(P, E));
    O* dq = op.dq_THE.as<O>();
    O* dk = op.dk_TGE.as<O>();
    O* dqkv = op.dqkv_TC.as<O>();
    const O* dout = op.dout_THE.as<O>();
    const O* out = op.out_THE.as<O>();
    const O* q = op.q_THE.as<O>();
    const O* k = op.k_TGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    parallel_tasks(num_threads_, {shape.sequences * G, cost}, [=](std::int64_t task, int thread) {
      const std::int64_t g = task % G;
      const std::int64_t s = task / G;
      const Workspace<Numbers> work(scratch->of(thread), P, E);
      const HeadRows<const O> keys = head_rows(k, shape, G, s, g);
      Numbers::load_rows(work.keys, units<Numbers>(E), keys, 0, P, E);
      if (work.key_pairs != work.keys) Numbers::load_row_pairs(work.key_pairs, E, keys, 0, P, E);
      Numbers::load_rows(work.values, units<Numbers>(E), value_rows(qkv, shape, s, g), 0, P, E);
      std::fill_n(work.dkeys, P * padded, 0.0F);
      std::fill_n(work.dvalues, P * padded, 0.0F);
      for (std::int64_t h = g * (H / G); h < (g + 1) * (H / G); ++h) {
        const QueryHead<O> head{head_rows(dq, shape, H, s, h),
                                head_rows(dout, shape, H, s, h),
                                head_rows(out, shape, H, s, h),
                                head_rows(q, shape, H, s, h),
                                {log_sum + s * P * H + h, H}};
        query_head_gradients(work, head, P, E);
      }
      const HeadRows<O> dkeys = head_rows(dk, shape, G, s, g);
      const HeadRows<O> dvalues = value_rows(dqkv, shape, s, g);
      for (std::int64_t i = 0; i < P; ++i) {
        scale_row(dkeys[i], work.dkeys + i * padded, scale, E);
        copy_row(dvalues[i], work.dvalues + i * padded, E);
      }
    });
  });
}

}  // namespace dualpath
