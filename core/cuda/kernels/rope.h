// Rotary position and per-head norm of q and k. A warp a head of a token; lane i has the pairs
// (i, i + R), (i + 32, i + 32 + R), …, R = E/2. Mathematics: core/ops/attention.h.
#pragma once

#include "core/cuda/kernels/launch.h"

namespace dualpath::gpu {

inline constexpr int max_head_size = 256;
inline constexpr int pairs_per_lane = max_head_size / 2 / warp_size;

// The vector of one head as its warp holds it.
struct HeadPairs {
  float low[pairs_per_lane];
  float high[pairs_per_lane];
};

struct HeadPlace {
  std::int64_t token, head;  // head counts queries, then keys
  std::int64_t position;
};

template <class O>
struct RopeShape {
  const O* qkv_TC;
  const float* q_weight_E;  // null without norm
  const float* k_weight_E;
  const float* cos_PR;
  const float* sin_PR;
  std::int64_t tokens, positions, first_position;
  int heads, kv_heads, head_size;
  QkNorm norm;

  DUALPATH_HOST_DEVICE int half() const { return head_size / 2; }
  DUALPATH_HOST_DEVICE int columns() const { return (heads + 2 * kv_heads) * head_size; }
  DUALPATH_HOST_DEVICE std::int64_t num_heads() const {
    return tokens * (std::int64_t{heads} + kv_heads);
  }
  DUALPATH_HOST_DEVICE HeadPlace place(std::int64_t i) const {
    const std::int64_t token = i / (heads + kv_heads);
    return {token, i % (heads + kv_heads), first_position + token % positions};
  }
  DUALPATH_HOST_DEVICE const O* input(const HeadPlace& p) const {
    return qkv_TC + p.token * columns() + p.head * head_size;
  }
  // Where the head stands in [T, H, E] of queries or [T, G, E] of keys.
  template <class T>
  DUALPATH_HOST_DEVICE T* of(T* q_THE, T* k_TGE, const HeadPlace& p) const {
    return p.head < heads ? q_THE + (p.token * heads + p.head) * head_size
                          : k_TGE + (p.token * kv_heads + p.head - heads) * head_size;
  }
  DUALPATH_HOST_DEVICE const float* weight(const HeadPlace& p) const {
    return p.head < heads ? q_weight_E : k_weight_E;
  }

  template <class Thread, class T>
  DUALPATH_HOST_DEVICE HeadPairs read(const Thread& t, const T* x) const {
    HeadPairs pairs{};
    each_pair(t, [&](int j, int i) {
      pairs.low[j] = static_cast<float>(x[i]);
      pairs.high[j] = static_cast<float>(x[i + half()]);
    });
    return pairs;
  }
  template <class Thread>
  DUALPATH_HOST_DEVICE void write(const Thread& t, O* out, const HeadPairs& pairs) const {
    each_pair(t, [&](int j, int i) {
      out[i] = static_cast<O>(pairs.low[j]);
      out[i + half()] = static_cast<O>(pairs.high[j]);
    });
  }
  // Turned by the position's angles; direction -1 turns back.
  template <class Thread>
  DUALPATH_HOST_DEVICE HeadPairs rotate(const Thread& t, const HeadPairs& x, const HeadPlace& p,
                                        float direction) const {
    HeadPairs out{};
    each_pair(t, [&](int j, int i) {
      const float c = cos_PR[p.position * half() + i];
      const float s = direction * sin_PR[p.position * half() + i];
      out.low[j] = x.low[j] * c - x.high[j] * s;
      out.high[j] = x.high[j] * c + x.low[j] * s;
    });
    return out;
  }
  // body(j, i): pair i of the head is the lane's j-th.
  template <class Thread, class Body>
  DUALPATH_HOST_DEVICE void each_pair(const Thread& t, const Body& body) const {
    for (int j = 0; j < pairs_per_lane; ++j) {
      const int i = t.index() % warp_size + j * warp_size;
      if (i < half()) body(j, i);
    }
  }
};

// body(i) for the items that this thread's warp has, of all warps of the grid.
template <class Thread, class Body>
DUALPATH_HOST_DEVICE void for_each_of_warp(const Thread& t, std::int64_t count, const Body& body) {
  const std::int64_t warps = t.size() / warp_size;
  for (std::int64_t i = t.block() * warps + t.index() / warp_size; i < count;
       i += t.num_blocks() * warps)
    body(i);
}

template <class O>
struct QkRope {
  O* q_THE;
  O* k_TGE;
  float* rstd_TN;
  RopeShape<O> shape;
  double epsilon;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_of_warp(t, shape.num_heads(), [&](std::int64_t i) {
      const HeadPlace p = shape.place(i);
      HeadPairs x = shape.read(t, shape.input(p));
      if (shape.norm == QkNorm::before_rope) x = normalize(t, x, p, i);
      x = shape.rotate(t, x, p, 1);
      if (shape.norm == QkNorm::after_rope) x = normalize(t, x, p, i);
      shape.write(t, shape.of(q_THE, k_TGE, p), x);
    });
  }

 private:
  template <class Thread>
  DUALPATH_HOST_DEVICE HeadPairs normalize(Thread& t, HeadPairs x, const HeadPlace& p,
                                           std::int64_t i) const {
    float squares = 0;
    for (int j = 0; j < pairs_per_lane; ++j) squares += x.low[j] * x.low[j] + x.high[j] * x.high[j];
    squares = warp_reduce<Sum>(t, squares);
    const double mean = static_cast<double>(squares) / shape.head_size;
    const auto rstd = static_cast<float>(1 / sqrt(mean + epsilon));
    if (t.index() % warp_size == 0) rstd_TN[i] = rstd;
    const float* weight = shape.weight(p);
    shape.each_pair(t, [&](int j, int e) {
      x.low[j] *= rstd * weight[e];
      x.high[j] *= rstd * weight[e + shape.half()];
    });
    return x;
  }
};

// partial[warp, 2, E]: the warps' parts of the weights' gradients, queries first; null without
// norm.
template <class O>
struct QkRopeBackward {
  O* dqkv_TC;
  float* partial;
  const O* dq_THE;
  const O* dk_TGE;
  const float* rstd_TN;
  RopeShape<O> shape;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    HeadPairs sums[2] = {};
    for_each_of_warp(t, shape.num_heads(), [&](std::int64_t i) {
      const HeadPlace p = shape.place(i);
      HeadPairs d = shape.read(t, shape.of(dq_THE, dk_TGE, p));
      HeadPairs& of_weight = sums[p.head < shape.heads ? 0 : 1];
      if (shape.norm == QkNorm::after_rope) {
        const HeadPairs x = shape.rotate(t, shape.read(t, shape.input(p)), p, 1);
        d = norm_backward(t, of_weight, d, x, p, rstd_TN[i]);
      }
      d = shape.rotate(t, d, p, -1);
      if (shape.norm == QkNorm::before_rope)
        d = norm_backward(t, of_weight, d, shape.read(t, shape.input(p)), p, rstd_TN[i]);
      shape.write(t, dqkv_TC + p.token * shape.columns() + p.head * shape.head_size, d);
    });
    if (shape.norm == QkNorm::none) return;
    const std::int64_t warp = t.block() * (t.size() / warp_size) + t.index() / warp_size;
    for (int k = 0; k < 2; ++k) {
      float* mine = partial + (warp * 2 + k) * shape.head_size;
      shape.each_pair(t, [&](int j, int e) {
        mine[e] = sums[k].low[j];
        mine[e + shape.half()] = sums[k].high[j];
      });
    }
  }

 private:
  // With n = x·rstd and dn = dout·weight: dx = rstd·(dn - n·mean(dn·n)), dweight += dout·n.
  template <class Thread>
  DUALPATH_HOST_DEVICE HeadPairs norm_backward(Thread& t, HeadPairs& dweight, const HeadPairs& dout,
                                               const HeadPairs& x, const HeadPlace& p,
                                               float rstd) const {
    const float* weight = shape.weight(p);
    float projection = 0;
    shape.each_pair(t, [&](int j, int e) {
      projection +=
          dout.low[j] * weight[e] * x.low[j] + dout.high[j] * weight[e + shape.half()] * x.high[j];
    });
    const float mean = warp_reduce<Sum>(t, projection) * rstd / static_cast<float>(shape.head_size);
    HeadPairs dx{};
    shape.each_pair(t, [&](int j, int e) {
      const float low = x.low[j] * rstd, high = x.high[j] * rstd;
      dweight.low[j] += dout.low[j] * low;
      dweight.high[j] += dout.high[j] * high;
      dx.low[j] = rstd * (dout.low[j] * weight[e] - low * mean);
      dx.high[j] = rstd * (dout.high[j] * weight[e + shape.half()] - high * mean);
    });
    return dx;
  }
};

// ---- launches

inline void check_head_size(const AttentionShape& shape) {
  CHECK_AS(ExitCode::configuration, shape.head_size <= max_head_size,
           "the GPU's attention takes heads of up to {} elements, not {}", max_head_size,
           shape.head_size);
}

// The shape that QkRope and QkRopeBackward share.
template <class O>
RopeShape<O> rope_shape(const auto& op) {
  return {.qkv_TC = op.qkv_TC.template as<O>(),
          .q_weight_E = optional<float>(op.q_weight_E),
          .k_weight_E = optional<float>(op.k_weight_E),
          .cos_PR = op.cos_PR.template as<float>(),
          .sin_PR = op.sin_PR.template as<float>(),
          .tokens = op.shape.tokens(),
          .positions = op.shape.positions,
          .first_position = op.shape.first_position,
          .heads = static_cast<int>(op.shape.heads),
          .kv_heads = static_cast<int>(op.shape.kv_heads),
          .head_size = static_cast<int>(op.shape.head_size),
          .norm = op.norm};
}

void launch(auto& on, const op::QkRope& op) {
  check_head_size(op.shape);
  with_type(op.qkv_TC, [&]<class O>() {
    const auto rope = rope_shape<O>(op);
    launch_warps(on, rope.num_heads(),
                 QkRope<O>{.q_THE = op.q_THE.as<O>(),
                           .k_TGE = op.k_TGE.as<O>(),
                           .rstd_TN = optional<float>(op.rstd_TN),
                           .shape = rope,
                           .epsilon = op.epsilon});
  });
}

void launch(auto& on, const op::QkRopeBackward& op) {
  check_head_size(op.shape);
  with_type(op.qkv_TC, [&]<class O>() {
    const auto rope = rope_shape<O>(op);
    const std::int64_t warps_per_block = block_threads / warp_size;
    const std::int64_t blocks = warp_blocks(on, rope.num_heads());
    const std::int64_t columns = 2 * op.shape.head_size;
    float* partial = nullptr;
    if (op.norm != QkNorm::none)
      partial = partial_sums<float>(on, blocks * warps_per_block, columns);
    launch_blocks(on, blocks, block_threads, 0,
                  QkRopeBackward<O>{.dqkv_TC = op.dqkv_TC.as<O>(),
                                    .partial = partial,
                                    .dq_THE = op.dq_THE.as<O>(),
                                    .dk_TGE = op.dk_TGE.as<O>(),
                                    .rstd_TN = optional<float>(op.rstd_TN),
                                    .shape = rope});
    if (op.norm == QkNorm::none) return;
    add_columns(on, SplitTotals{.first_A = op.dq_weight_E.as<float>(),
                                .second = op.dk_weight_E.as<float>(),
                                .partial = partial,
                                .blocks = blocks * warps_per_block,
                                .first_columns = op.shape.head_size,
                                .columns = columns});
  });
}

}  // namespace dualpath::gpu
