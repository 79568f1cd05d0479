// Causal attention in blocks, simple and right, for where no library has it. A block takes a tile
// of rows (queries, or keys in the backward pass of k and v), a warp some of its rows, one after
// another; the other side goes through shared memory in tiles of 32, one a lane. Lane l has the
// elements l, l + 32, … of a row's sums. Mathematics: core/ops/attention.h
// and tests/reference_ops.
#pragma once

#include "core/cuda/kernels/launch.h"
#include "core/cuda/kernels/rope.h"

namespace dualpath::gpu {

inline constexpr int attention_warps = 4;
inline constexpr int rows_per_block = 16;
inline constexpr int elements_per_lane = max_head_size / warp_size;

// A [rows, E] matrix of one head within a larger tensor.
template <class T>
struct HeadRows {
  T* data;
  std::int64_t stride;  // elements from one token's row to the next
  DUALPATH_HOST_DEVICE T* row(std::int64_t i) const { return data + i * stride; }
};

// Bytes of shared memory for `rows` rows and `tiles` tiles of 32.
inline std::size_t attention_shared_bytes(int rows, int tiles, int head_size) {
  const int floats = rows * head_size + tiles * warp_size * (head_size + 1);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

// A tile of rows in shared memory; the stride head_size + 1 keeps 32 lanes on 32 banks.
struct Tile {
  float* data;
  int rows, head_size, stride;
};

// tile[i][e] = rows begin + i, 0 beyond `end`
template <class Thread, class T>
DUALPATH_HOST_DEVICE void load_tile(const Thread& t, Tile tile, HeadRows<T> rows,
                                    std::int64_t begin, std::int64_t end) {
  for (int i = t.index(); i < tile.rows * tile.head_size; i += t.size()) {
    const int row = i / tile.head_size, e = i % tile.head_size;
    tile.data[row * tile.stride + e] =
        begin + row < end ? static_cast<float>(rows.row(begin + row)[e]) : 0.0F;
  }
}

DUALPATH_HOST_DEVICE inline float row_dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int e = 0; e < n; ++e) sum += a[e] * b[e];
  return sum;
}

// sum_e += Σ_j weight of lane j · tile[j][e]
template <class Thread>
DUALPATH_HOST_DEVICE void add_weighted_rows(Thread& t, float* sum, float weight, const float* tile,
                                            int stride, int head_size) {
  for (int j = 0; j < warp_size; ++j) {
    const float w = t.shuffle(weight, j);
    for (int i = 0; i < elements_per_lane; ++i) {
      const int e = t.index() % warp_size + i * warp_size;
      if (e < head_size) sum[i] += w * tile[j * stride + e];
    }
  }
}

// row = scale·sums of the lanes
template <class Thread, class O>
DUALPATH_HOST_DEVICE void store_row(const Thread& t, O* row, const float* sums, float scale,
                                    int head_size) {
  for (int i = 0; i < elements_per_lane; ++i) {
    const int e = t.index() % warp_size + i * warp_size;
    if (e < head_size) row[e] = static_cast<O>(sums[i] * scale);
  }
}

template <class O>
struct AttentionOperands {
  O* out_THE;  // = in the forward pass
  float* log_sum_TH;
  const O* q_THE;
  const O* keys;
  const O* values;
  std::int64_t key_stride, value_stride;  // between tokens
  std::int64_t positions, first_position;
  int heads, kv_heads, head_size, tiles_of_rows;
  float scale;

  // Which sequence, head and tile of rows a block has.
  struct Place {
    std::int64_t sequence;
    int head, kv_head;
    std::int64_t begin;  // the tile's first row
  };
  DUALPATH_HOST_DEVICE Place place(std::int64_t block, int of_heads) const {
    const std::int64_t row = block / tiles_of_rows;
    const int head = static_cast<int>(row % of_heads);
    return {row / of_heads, head, of_heads == kv_heads ? head : head / (heads / kv_heads),
            block % tiles_of_rows * rows_per_block};
  }
  template <class T>
  DUALPATH_HOST_DEVICE HeadRows<T> queries(T* data, std::int64_t sequence, int head) const {
    return {data + (sequence * positions * heads + head) * head_size,
            std::int64_t{heads} * head_size};
  }
  DUALPATH_HOST_DEVICE HeadRows<const O> key_rows(const Place& p) const {
    return {keys + p.sequence * positions * key_stride + std::int64_t{p.kv_head} * head_size,
            key_stride};
  }
  DUALPATH_HOST_DEVICE HeadRows<const O> value_rows(const Place& p) const {
    return {values + p.sequence * positions * value_stride + std::int64_t{p.kv_head} * head_size,
            value_stride};
  }
  DUALPATH_HOST_DEVICE std::int64_t statistics(const Place& p, int head, std::int64_t i) const {
    return (p.sequence * positions + i) * heads + head;
  }
};

// Online softmax (arXiv 2205.14135) of a tile of queries, which lie in shared memory. A warp has
// rows_of_warp of them.
inline constexpr int rows_of_warp = rows_per_block / attention_warps;
struct QueryTile {
  const float* queries;
  float* keys;
  float* values;
  int head_size;
  float scale;
  float out[rows_of_warp][elements_per_lane] = {};
  float largest[rows_of_warp];
  float sum[rows_of_warp] = {};

  DUALPATH_HOST_DEVICE QueryTile(float* shared, int head_size, float scale)
      : queries(shared),
        keys(shared + rows_per_block * head_size),
        values(keys + warp_size * (head_size + 1)),
        head_size(head_size),
        scale(scale) {
    for (float& l : largest) l = -INFINITY;
  }

  // Keys and values [begin, end); query i of the tile sees those up to last_of_first + i.
  template <class Thread, class O>
  DUALPATH_HOST_DEVICE void meet(Thread& t, HeadRows<const O> key_rows,
                                 HeadRows<const O> value_rows, std::int64_t begin, std::int64_t end,
                                 std::int64_t last_of_first) {
    const int stride = head_size + 1, lane = t.index() % warp_size;
    for (; begin < end; begin += warp_size) {
      t.barrier();
      load_tile(t, {keys, warp_size, head_size, stride}, key_rows, begin, end);
      load_tile(t, {values, warp_size, head_size, stride}, value_rows, begin, end);
      t.barrier();
      for (int r = 0; r < rows_of_warp; ++r) {
        const int i = t.index() / warp_size * rows_of_warp + r;
        const bool visible = begin + lane < end && begin + lane <= last_of_first + i;
        float score = row_dot(queries + i * head_size, keys + lane * stride, head_size);
        score = visible ? score * scale : -INFINITY;
        const float tile_max = warp_reduce<Max>(t, score);
        if (tile_max == -INFINITY) continue;  // the same in all lanes
        const float next = fmaxf(largest[r], tile_max);
        const float shrink = largest[r] == -INFINITY ? 0.0F : expf(largest[r] - next);
        const float weight = visible ? expf(score - next) : 0.0F;
        largest[r] = next;
        sum[r] = sum[r] * shrink + warp_reduce<Sum>(t, weight);
        for (float& o : out[r]) o *= shrink;
        add_weighted_rows(t, out[r], weight, values, stride, head_size);
      }
    }
  }
};

template <class O>
struct Attention {
  AttentionOperands<O> a;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const auto p = a.place(t.block(), a.heads);
    auto* shared = static_cast<float*>(t.shared());
    load_tile(t, {shared, rows_per_block, a.head_size, a.head_size},
              a.queries(a.q_THE, p.sequence, p.head), p.begin, a.positions);
    QueryTile tile(shared, a.head_size, a.scale);
    const std::int64_t last_row =
        p.begin + rows_per_block < a.positions ? p.begin + rows_per_block : a.positions;
    tile.meet(t, a.key_rows(p), a.value_rows(p), 0, a.first_position + last_row,
              a.first_position + p.begin);
    const HeadRows<O> out_rows = a.queries(a.out_THE, p.sequence, p.head);
    for (int r = 0; r < rows_of_warp; ++r) {
      const std::int64_t i = p.begin + t.index() / warp_size * rows_of_warp + r;
      if (i >= a.positions) continue;
      store_row(t, out_rows.row(i), tile.out[r], 1 / tile.sum[r], a.head_size);
      if (t.index() % warp_size == 0)
        a.log_sum_TH[a.statistics(p, p.head, i)] = tile.largest[r] + logf(tile.sum[r]);
    }
  }
};

// A block for each tile that the longest segment has, of each segment and head. Those beyond a
// shorter segment's end do nothing.
template <class O>
struct SegmentAttention {
  AttentionOperands<O> a;
  const std::int32_t* segments_S3;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const auto p = a.place(t.block(), a.heads);  // its sequence is the segment
    const std::int32_t* segment = segments_S3 + p.sequence * 3;
    const std::int64_t begin = segment[0] + p.begin, end = segment[1];
    if (begin >= end) return;  // the same in all threads of the block
    const typename AttentionOperands<O>::Place whole{0, p.head, p.kv_head, 0};
    const auto keys = a.key_rows(whole), values = a.value_rows(whole);
    auto* shared = static_cast<float*>(t.shared());
    load_tile(t, {shared, rows_per_block, a.head_size, a.head_size}, a.queries(a.q_THE, 0, p.head),
              begin, end);
    QueryTile tile(shared, a.head_size, a.scale);
    tile.meet(t, keys, values, segment[0],
              begin + rows_per_block < end ? begin + rows_per_block : end, begin);
    for (std::int32_t past = segment[2]; past >= 0; past = segments_S3[past * 3 + 2]) {
      const std::int64_t past_end = segments_S3[past * 3 + 1];
      tile.meet(t, keys, values, segments_S3[past * 3], past_end, past_end);
    }
    const HeadRows<O> out_rows = a.queries(a.out_THE, 0, p.head);
    for (int r = 0; r < rows_of_warp; ++r) {
      const std::int64_t i = begin + t.index() / warp_size * rows_of_warp + r;
      if (i < end) store_row(t, out_rows.row(i), tile.out[r], 1 / tile.sum[r], a.head_size);
    }
  }
};

// delta_TH = <dout, out>. A warp a head of a token.
template <class O>
struct AttentionDelta {
  float* delta_TH;
  const O* dout_THE;
  const O* out_THE;
  std::int64_t rows;  // T·H
  int head_size;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_of_warp(t, rows, [&](std::int64_t i) {
      float sum = 0;
      for (int e = t.index() % warp_size; e < head_size; e += warp_size)
        sum += static_cast<float>(dout_THE[i * head_size + e]) *
               static_cast<float>(out_THE[i * head_size + e]);
      sum = warp_reduce<Sum>(t, sum);
      if (t.index() % warp_size == 0) delta_TH[i] = sum;
    });
  }
};

// dq_t = Σ_{j<=t} ds_j·k_j·scale, ds_j = p_j·(<dout_t, v_j> - δ_t), p_j = exp(score_j - log_sum_t)
template <class O>
struct AttentionBackwardQ {
  AttentionOperands<O> a;
  O* dq_THE;
  const O* dout_THE;
  const float* delta_TH;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const auto p = a.place(t.block(), a.heads);
    const int stride = a.head_size + 1, lane = t.index() % warp_size;
    auto* queries = static_cast<float*>(t.shared());
    float* douts = queries + rows_per_block * a.head_size;
    float* keys = douts + rows_per_block * a.head_size;
    float* values = keys + warp_size * stride;
    load_tile(t, {queries, rows_per_block, a.head_size, a.head_size},
              a.queries(a.q_THE, p.sequence, p.head), p.begin, a.positions);
    load_tile(t, {douts, rows_per_block, a.head_size, a.head_size},
              a.queries(dout_THE, p.sequence, p.head), p.begin, a.positions);
    constexpr int rows = rows_per_block / attention_warps;
    float dq[rows][elements_per_lane] = {};
    const std::int64_t seen =
        p.begin + rows_per_block < a.positions ? p.begin + rows_per_block : a.positions;
    for (std::int64_t begin = 0; begin < seen; begin += warp_size) {
      t.barrier();
      load_tile(t, {keys, warp_size, a.head_size, stride}, a.key_rows(p), begin, seen);
      load_tile(t, {values, warp_size, a.head_size, stride}, a.value_rows(p), begin, seen);
      t.barrier();
      for (int r = 0; r < rows; ++r) {
        const int i = t.index() / warp_size * rows + r;
        const std::int64_t row = p.begin + i;
        const bool visible = begin + lane <= row && row < a.positions;
        float ds = 0;
        if (visible) {
          const std::int64_t s = a.statistics(p, p.head, row);
          const float score =
              row_dot(queries + i * a.head_size, keys + lane * stride, a.head_size) * a.scale;
          const float dp = row_dot(douts + i * a.head_size, values + lane * stride, a.head_size);
          ds = expf(score - a.log_sum_TH[s]) * (dp - delta_TH[s]) * a.scale;
        }
        add_weighted_rows(t, dq[r], ds, keys, stride, a.head_size);
      }
    }
    const HeadRows<O> dq_rows = a.queries(dq_THE, p.sequence, p.head);
    for (int r = 0; r < rows; ++r) {
      const std::int64_t i = p.begin + t.index() / warp_size * rows + r;
      if (i >= a.positions) continue;
      store_row(t, dq_rows.row(i), dq[r], 1, a.head_size);
    }
  }
};

// dk_j = Σ_{t>=j} ds·q_t·scale, dv_j = Σ_{t>=j} p·dout_t, over the query heads of the group.
template <class O>
struct AttentionBackwardKv {
  AttentionOperands<O> a;
  O* dk;  // strides as of keys and values
  O* dv;
  std::int64_t dk_stride, dv_stride;
  const O* dout_THE;
  const float* delta_TH;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const auto p = a.place(t.block(), a.kv_heads);
    const int stride = a.head_size + 1, lane = t.index() % warp_size;
    const int group = a.heads / a.kv_heads;
    auto* keys = static_cast<float*>(t.shared());
    float* values = keys + rows_per_block * a.head_size;
    float* queries = values + rows_per_block * a.head_size;
    float* douts = queries + warp_size * stride;
    load_tile(t, {keys, rows_per_block, a.head_size, a.head_size}, a.key_rows(p), p.begin,
              a.positions);
    load_tile(t, {values, rows_per_block, a.head_size, a.head_size}, a.value_rows(p), p.begin,
              a.positions);
    constexpr int rows = rows_per_block / attention_warps;
    float dk_sum[rows][elements_per_lane] = {}, dv_sum[rows][elements_per_lane] = {};
    for (int head = p.kv_head * group; head < (p.kv_head + 1) * group; ++head) {
      const auto query_rows = a.queries(a.q_THE, p.sequence, head);
      const auto dout_rows = a.queries(dout_THE, p.sequence, head);
      for (std::int64_t begin = p.begin; begin < a.positions; begin += warp_size) {
        t.barrier();
        load_tile(t, {queries, warp_size, a.head_size, stride}, query_rows, begin, a.positions);
        load_tile(t, {douts, warp_size, a.head_size, stride}, dout_rows, begin, a.positions);
        t.barrier();
        const std::int64_t row = begin + lane;  // the query that this lane has
        for (int r = 0; r < rows; ++r) {
          const int i = t.index() / warp_size * rows + r;
          float weight = 0, ds = 0;
          if (row < a.positions && p.begin + i <= row) {
            const std::int64_t s = a.statistics(p, head, row);
            const float score =
                row_dot(keys + i * a.head_size, queries + lane * stride, a.head_size) * a.scale;
            const float dp = row_dot(values + i * a.head_size, douts + lane * stride, a.head_size);
            weight = expf(score - a.log_sum_TH[s]);
            ds = weight * (dp - delta_TH[s]) * a.scale;
          }
          add_weighted_rows(t, dv_sum[r], weight, douts, stride, a.head_size);
          add_weighted_rows(t, dk_sum[r], ds, queries, stride, a.head_size);
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      const std::int64_t j = p.begin + t.index() / warp_size * rows + r;
      if (j >= a.positions) continue;
      const std::int64_t token = p.sequence * a.positions + j;
      const std::int64_t column = std::int64_t{p.kv_head} * a.head_size;
      store_row(t, dk + token * dk_stride + column, dk_sum[r], 1, a.head_size);
      store_row(t, dv + token * dv_stride + column, dv_sum[r], 1, a.head_size);
    }
  }
};

// out[i, c, r] = in[i, r, c]: log_sum_TH to and from the order that cuDNN keeps it in.
struct ExchangeRowsAndColumns {
  float* out;
  const float* in;
  std::int64_t count, rows, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t size = rows * columns;
    for_each_pack_of_grid<1>(t, count * size, [&](std::int64_t i) {
      const std::int64_t matrix = i / size, row = i % size / columns, column = i % columns;
      out[matrix * size + column * rows + row] = in[i];
    });
  }
};

// The new tokens' values into the cache.
template <class O>
struct CacheValues {
  O* values_PGE;
  const O* qkv_TC;
  std::int64_t tokens, first_position, columns, width;  // width: G·E, the last columns
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, tokens * width, [&](std::int64_t i) {
      const std::int64_t token = i / width;
      values_PGE[first_position * width + i] = qkv_TC[(token + 1) * columns - width + i % width];
    });
  }
};

// ---- launches

// The operands that Attention and AttentionBackward share.
template <class O>
AttentionOperands<O> attention_operands(const auto& op) {
  const AttentionShape& s = op.shape;
  const std::int64_t tiles = (s.positions + rows_per_block - 1) / rows_per_block;
  return {.out_THE = op.out_THE.template as<O>(),
          .log_sum_TH = op.log_sum_TH.template as<float>(),
          .q_THE = op.q_THE.template as<O>(),
          .keys = op.k_TGE.template as<O>(),
          .values = op.qkv_TC.template as<O>() + (s.heads + s.kv_heads) * s.head_size,
          .key_stride = s.kv_heads * s.head_size,
          .value_stride = (s.heads + 2 * s.kv_heads) * s.head_size,
          .positions = s.positions,
          .first_position = s.first_position,
          .heads = static_cast<int>(s.heads),
          .kv_heads = static_cast<int>(s.kv_heads),
          .head_size = static_cast<int>(s.head_size),
          .tiles_of_rows = static_cast<int>(tiles),
          .scale = 1 / std::sqrt(static_cast<float>(s.head_size))};
}

template <class O>
void launch_attention(auto& on, const AttentionOperands<O>& a, std::int64_t sequences) {
  launch_blocks(on, sequences * a.heads * a.tiles_of_rows, attention_warps * warp_size,
                attention_shared_bytes(rows_per_block, 2, a.head_size), Attention<O>{a});
}

void launch(auto& on, const op::Attention& op) {
  check_head_size(op.shape);
  with_type(op.q_THE, [&]<class O>() {
    launch_attention(on, attention_operands<O>(op), op.shape.sequences);
  });
}

void launch(auto& on, const op::CachedAttention& op) {
  check_head_size(op.shape);
  const std::int64_t width = op.shape.kv_heads * op.shape.head_size;
  with_type(op.q_THE, [&]<class O>() {
    launch_elements(on, op.shape.positions * width, 1,
                    CacheValues<O>{.values_PGE = op.values_PGE.as<O>(),
                                   .qkv_TC = op.qkv_TC.as<O>(),
                                   .tokens = op.shape.positions,
                                   .first_position = op.shape.first_position,
                                   .columns = op.qkv_TC.cols(),
                                   .width = width});
    auto a = attention_operands<O>(op::Attention{.out_THE = op.out_THE,
                                                 .log_sum_TH = op.log_sum_TH,
                                                 .q_THE = op.q_THE,
                                                 .k_TGE = op.keys_PGE,
                                                 .qkv_TC = op.qkv_TC,
                                                 .shape = op.shape});
    a.values = op.values_PGE.as<O>();
    a.value_stride = width;
    launch_attention(on, a, 1);
  });
}

void launch(auto& on, const op::SegmentAttention& op) {
  check_head_size(op.shape);
  with_type(op.q_THE, [&]<class O>() {
    auto a = attention_operands<O>(op::Attention{.out_THE = op.out_THE,
                                                 .log_sum_TH = {},
                                                 .q_THE = op.q_THE,
                                                 .k_TGE = op.k_TGE,
                                                 .qkv_TC = op.qkv_TC,
                                                 .shape = op.shape});
    a.tiles_of_rows = static_cast<int>((op.longest_segment + rows_per_block - 1) / rows_per_block);
    const std::int64_t blocks = op.segments_S3.rows() * a.heads * a.tiles_of_rows;
    launch_blocks(on, blocks, attention_warps * warp_size,
                  attention_shared_bytes(rows_per_block, 2, a.head_size),
                  SegmentAttention<O>{a, op.segments_S3.as<std::int32_t>()});
  });
}

void launch(auto& on, const op::AttentionBackward& op) {
  check_head_size(op.shape);
  const std::int64_t rows = op.shape.tokens() * op.shape.heads;
  const int size = static_cast<int>(op.shape.head_size);
  const int threads = attention_warps * warp_size;
  const std::size_t shared = attention_shared_bytes(2 * rows_per_block, 2, size);
  with_type(op.q_THE, [&]<class O>() {
    const auto a = attention_operands<O>(op);
    float* delta = partial_sums<float>(on, rows, 1);
    launch_warps(on, rows,
                 AttentionDelta<O>{.delta_TH = delta,
                                   .dout_THE = op.dout_THE.as<O>(),
                                   .out_THE = op.out_THE.as<O>(),
                                   .rows = rows,
                                   .head_size = size});
    const std::int64_t tiles = a.tiles_of_rows * op.shape.sequences;
    launch_blocks(on, tiles * op.shape.heads, threads, shared,
                  AttentionBackwardQ<O>{.a = a,
                                        .dq_THE = op.dq_THE.as<O>(),
                                        .dout_THE = op.dout_THE.as<O>(),
                                        .delta_TH = delta});
    O* dvalues = op.dqkv_TC.as<O>() + (op.shape.heads + op.shape.kv_heads) * op.shape.head_size;
    launch_blocks(on, tiles * op.shape.kv_heads, threads, shared,
                  AttentionBackwardKv<O>{.a = a,
                                         .dk = op.dk_TGE.as<O>(),
                                         .dv = dvalues,
                                         .dk_stride = a.key_stride,
                                         .dv_stride = a.value_stride,
                                         .dout_THE = op.dout_THE.as<O>(),
                                         .delta_TH = delta});
  });
}

void launch_exchange(auto& on, const ExchangeRowsAndColumns& kernel) {
  launch_elements(on, kernel.count * kernel.rows * kernel.columns, 1, kernel);
}

}  // namespace dualpath::gpu
