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

// Consecutive rows of keys: those that all queries of a block see, or [begin, query] for each
// query.
struct KeyRange {
  std::int64_t begin, end;
  bool causal;
};

// At most block_queries queries of one head, and the softmax over the keys that they have met.
template <class O>
class QueryBlock {
  using Numbers = NumbersOf<O>;

 public:
  // The queries [begin, end).
  QueryBlock(const Head<O>& head, std::int64_t begin, std::int64_t end, std::int64_t E,
             const Workspace<Numbers>& work)
      : head_(head), begin_(begin), end_(end), E_(E), work_(work) {
    for_each_chunk([&](std::int64_t c, std::int64_t query) {
      Numbers::load_lanes(lanes(c), head_.q, query, end_ - query, E_);
      std::fill_n(out(c), chunk_queries * E_, 0.0F);
      std::fill_n(work_.chunks[c].max, chunk_queries, -INFINITY);
      std::fill_n(work_.chunks[c].sum, chunk_queries, 0.0F);
    });
  }

  void meet(const KeyRange& range) {
    for (std::int64_t key = range.begin; key < range.end; key += block_keys) {
      const std::int64_t block = std::min(block_keys, range.end - key);
      Numbers::load_rows(work_.keys, units<Numbers>(E_), head_.k, key, block, E_);
      Numbers::load_row_pairs(work_.values, E_, head_.v, key, block, E_);
      for_each_chunk([&](std::int64_t c, std::int64_t query) {
        meet_block(c, query, key, range.causal ? visible_keys(key, query, range.end) : block,
                   range.causal);
      });
    }
  }

  void store() {
    for_each_chunk([&](std::int64_t c, std::int64_t query) {
      const Chunk& chunk = work_.chunks[c];
      alignas(64) float shares[chunk_queries];
      for (std::int64_t i = 0; i < chunk_queries; ++i) shares[i] = 1.0F / chunk.sum[i];
      scale_lanes(out(c), shares, E_);
      store_chunk(head_.out, out(c), query, end_ - query, E_);
      if (head_.log_sum.data == nullptr) return;
      for (std::int64_t i = 0; i < std::min(chunk_queries, end_ - query); ++i)
        *head_.log_sum[query + i] = chunk.max[i] + std::log(chunk.sum[i]);
    });
  }

 private:
  float* lanes(std::int64_t c) const { return work_.q + c * chunk_queries * units<Numbers>(E_); }
  float* out(std::int64_t c) const { return work_.out + c * chunk_queries * E_; }
  template <class Body>
  void for_each_chunk(const Body& body) const {
    for (std::int64_t query = begin_, c = 0; query < end_; query += chunk_queries, ++c)
      body(c, query);
  }
  // The keys [key, key + keys), loaded, and the chunk of queries at `query`.
  void meet_block(std::int64_t c, std::int64_t query, std::int64_t key, std::int64_t keys,
                  bool causal) {
    if (keys <= 0) return;
    const float scale = 1.0F / std::sqrt(static_cast<float>(E_));
    multiply_block<Numbers, false>({work_.scores, chunk_queries},
                                   {work_.keys, units<Numbers>(E_), 1}, {lanes(c), chunk_queries},
                                   {keys, chunk_queries, units<Numbers>(E_)}, scale);
    if (causal && key + keys > query) mask_scores(work_.scores, keys, key, query);
    soften(work_.scores, keys, work_.chunks[c], out(c), E_);
    const float* p =
        Numbers::pair_rows(work_.paired, work_.scores, chunk_queries, keys, chunk_queries);
    multiply_block<Numbers, true>({out(c), chunk_queries}, {work_.values, 1, E_},
                                  {p, chunk_queries}, {E_, chunk_queries, units<Numbers>(keys)});
  }

  Head<O> head_;
  std::int64_t begin_, end_, E_;
  Workspace<Numbers> work_;
};

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
                   const std::int64_t first = shape.first_position + block * block_queries;
                   const std::int64_t last = std::min(first + block_queries, end);
                   QueryBlock<O> queries(head_of(task / blocks / H, task / blocks % H), first, last,
                                         E, Work(scratch.of(thread), E));
                   queries.meet({0, last, true});
                   queries.store();
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

// A task is a head of a segment.
void CpuOps::compute(const op::SegmentAttention& op) {
  const AttentionShape shape = op.shape;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size;
  const std::int64_t num_segments = op.segments_S3.rows();
  const auto* segments = op.segments_S3.as<std::int32_t>();
  with_type(op.out_THE, [&]<class O>() {
    using Work = Workspace<NumbersOf<O>>;
    O* out = op.out_THE.as<O>();
    const O* q = op.q_THE.as<O>();
    const O* k = op.k_TGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    scratch_.reserve(Work::bytes(E));
    const std::int64_t cost = shape.positions * shape.positions * E / num_segments;
    parallel_tasks(
        num_threads_, {num_segments * H, cost}, [=, this](std::int64_t task, int thread) {
          const std::int64_t h = task % H, g = h / (H / G);
          const std::int32_t* segment = segments + task / H * 3;
          const Head<O> head{head_rows(out, shape, H, 0, h),
                             {nullptr, 0},
                             head_rows(q, shape, H, 0, h),
                             head_rows(k, shape, G, 0, g),
                             value_rows(qkv, shape, 0, g)};
          for (std::int64_t first = segment[0]; first < segment[1]; first += block_queries) {
            const std::int64_t last = std::min<std::int64_t>(first + block_queries, segment[1]);
            QueryBlock<O> queries(head, first, last, E, Work(scratch_.of(thread), E));
            queries.meet({segment[0], last, true});
            for (std::int64_t past = segment[2]; past >= 0; past = segments[past * 3 + 2])
              queries.meet({segments[past * 3], segments[past * 3 + 1], false});
            queries.store();
          }
        });
  });
}

}  // namespace dualpath
