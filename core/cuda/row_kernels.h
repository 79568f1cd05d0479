// Kernels in which a block takes whole rows: norms, embedding, sums. Mathematics:
// core/ops.h. Sums over tokens are made in two steps: every block adds up its rows in shared memory
// and leaves a row of partial sums; ColumnTotals adds those in order of the blocks.
#pragma once

#include "core/cuda/block.h"
#include "core/ops.h"

namespace dualpath::gpu {

// total_C (+)= Σ_blocks partial[block, C]
template <class T>
struct ColumnTotals {
  T* total_C;
  const T* partial;
  std::int64_t blocks, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, columns, [&](std::int64_t c) {
      T sum = 0;
      for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b * columns + c];
      total_C[c] += sum;
    });
  }
};

// An id outside the vocabulary gives NaN: kernels cannot throw.
template <class S>
struct Embedding {
  S* out_TD;
  const std::int32_t* ids_T;
  const float* table_VD;
  VocabularyRows rows;
  std::int64_t table_rows, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), id = ids_T[token];
    const bool valid = 0 <= id && id < rows.total;
    const std::int64_t row = id - rows.first;
    const bool here = valid && 0 <= row && row < table_rows;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float value = here ? table_VD[row * width + d] : valid ? 0.0F : NAN;
      out_TD[token * width + d] = static_cast<S>(value);
    });
  }
};

// A block a token: the first of those with one id adds up all of them, in order.
template <class S>
struct EmbeddingBackward {
  float* grad_VD;
  const std::int32_t* ids_T;
  const S* dout_TD;
  VocabularyRows rows;
  std::int64_t table_rows, tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = ids_T[token] - rows.first;
    if (row < 0 || row >= table_rows) return;
    const std::int32_t id = ids_T[token];
    float earlier = 0;
    for (std::int64_t j = t.index(); j < token; j += t.size())
      if (ids_T[j] == id) earlier = 1;
    if (block_reduce<Max>(t, earlier) > 0) return;
    const int warps = t.size() / warp_size;
    auto* matches = static_cast<std::uint32_t*>(t.shared());  // of each warp's 32 tokens
    for (std::int64_t begin = token; begin < tokens; begin += t.size()) {
      const std::int64_t j = begin + t.index();
      const std::uint32_t ballot = t.ballot(j < tokens && ids_T[j] == id);
      if (t.index() % warp_size == 0) matches[t.index() / warp_size] = ballot;
      t.barrier();
      for (int w = 0; w < warps; ++w) {
        for (std::uint32_t left = matches[w]; left != 0; left &= left - 1) {
          const std::int64_t match = begin + w * warp_size + lowest_bit(left);
          for_each_pack<1>(t, width, [&](std::int64_t d) {
            grad_VD[row * width + d] += static_cast<float>(dout_TD[match * width + d]);
          });
        }
      }
      t.barrier();
    }
  }
  DUALPATH_HOST_DEVICE static int lowest_bit(std::uint32_t bits) {
    int place = 0;
    while ((bits >> place & 1U) == 0) ++place;
    return place;
  }
};

// RMSNorm of x, or, with y, of out = x + s·y as it was stored. A block a row.
template <class S, class O, int N>
struct RmsNorm {
  S* sum_TD;  // null: no residual
  O* out_TD;
  float* rstd_T;
  const S* x_TD;
  const O* y_TD;
  const float* gain;
  const float* weight_D;
  std::int64_t width;
  double epsilon;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t row = t.block() * width;
    const S* x = x_TD + row;
    if (sum_TD != nullptr) {
      const float scale = residual_scale(gain);
      for_each_pack<N>(t, width, [&](std::int64_t d) {
        const auto a = load<N>(x_TD + row + d);
        const auto y = load<N>(y_TD + row + d);
        Pack<S, N> sum;
        for (int k = 0; k < N; ++k)
          sum.at[k] =
              static_cast<S>(static_cast<float>(a.at[k]) + scale * static_cast<float>(y.at[k]));
        store(sum_TD + row + d, sum);
      });
      x = sum_TD + row;  // each thread reads back only what it wrote
    }
    float squares = 0;
    for_each_pack<N>(t, width, [&](std::int64_t d) {
      const auto a = load<N>(x + d);
      for (int k = 0; k < N; ++k)
        squares += static_cast<float>(a.at[k]) * static_cast<float>(a.at[k]);
    });
    squares = block_sum(t, squares);
    const double mean = static_cast<double>(squares) / static_cast<double>(width);
    const auto rstd = static_cast<float>(1 / sqrt(mean + epsilon));
    if (t.index() == 0) rstd_T[t.block()] = rstd;
    for_each_pack<N>(t, width, [&](std::int64_t d) {
      const auto a = load<N>(x + d);
      const auto w = load<N>(weight_D + d);
      Pack<O, N> o;
      for (int k = 0; k < N; ++k)
        o.at[k] = static_cast<O>(static_cast<float>(a.at[k]) * rstd * w.at[k]);
      store(out_TD + row + d, o);
    });
  }
};

// Block b takes rows b, b + blocks, …; partial[b, D] = their Σ dout·x̂.
template <class S, class O, int N>
struct RmsNormBackward {
  S* dx_TD;
  float* partial;
  const O* dout_TD;
  const S* x_TD;
  const float* weight_D;
  const float* rstd_T;
  std::int64_t tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    auto* sums = static_cast<float*>(t.shared());  // a thread touches its own columns only
    for_each_pack<N>(t, width, [&](std::int64_t d) {
      for (int k = 0; k < N; ++k) sums[d + k] = 0;
    });
    for (std::int64_t token = t.block(); token < tokens; token += t.num_blocks()) {
      const std::int64_t row = token * width;
      const float rstd = rstd_T[token];
      float projection = 0;
      for_each_pack<N>(t, width, [&](std::int64_t d) {
        const auto x = load<N>(x_TD + row + d);
        const auto g = load<N>(dout_TD + row + d);
        const auto w = load<N>(weight_D + d);
        for (int k = 0; k < N; ++k)
          projection += static_cast<float>(g.at[k]) * w.at[k] * static_cast<float>(x.at[k]);
      });
      const float mean = block_sum(t, projection) * rstd / static_cast<float>(width);
      for_each_pack<N>(t, width, [&](std::int64_t d) {
        const auto x = load<N>(x_TD + row + d);
        const auto g = load<N>(dout_TD + row + d);
        const auto w = load<N>(weight_D + d);
        auto dx = load<N>(dx_TD + row + d);
        for (int k = 0; k < N; ++k) {
          const float normalized = static_cast<float>(x.at[k]) * rstd;
          const float dout = g.at[k];
          dx.at[k] = static_cast<S>(static_cast<float>(dx.at[k]) +
                                    rstd * (dout * w.at[k] - normalized * mean));
          sums[d + k] += dout * normalized;
        }
        store(dx_TD + row + d, dx);
      });
    }
    for_each_pack<N>(t, width, [&](std::int64_t d) {
      for (int k = 0; k < N; ++k) partial[t.block() * width + d + k] = sums[d + k];
    });
  }
};

// partial[block] = Σ a·b over the block's elements
template <class A, class B>
struct PartialDot {
  double* partial;
  const A* a;
  const B* b;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    double sum = 0;
    for_each_pack_of_grid<1>(t, count, [&](std::int64_t i) {
      sum += static_cast<double>(static_cast<float>(a[i])) *
             static_cast<double>(static_cast<float>(b[i]));
    });
    sum = block_sum(t, sum);
    if (t.index() == 0) partial[t.block()] = sum;
  }
};

// dgain += Σ partial·σ(gain)/softplus(gain). One block.
struct GainTotal {
  float* dgain;
  const double* partial;
  const float* gain;
  std::int64_t blocks;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    if (t.index() != 0) return;
    double sum = 0;
    for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b];
    *dgain += static_cast<float>(sum * static_cast<double>(sigmoid(*gain)) /
                                 static_cast<double>(softplus(*gain)));
  }
};

// A block a row.
template <class A>
struct RowDot {
  float* out_T;
  const A* a_TD;
  const A* b_TD;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t row = t.block() * width;
    float sum = 0;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      sum += static_cast<float>(a_TD[row + d]) * static_cast<float>(b_TD[row + d]);
    });
    sum = block_sum(t, sum);
    if (t.index() == 0) out_T[t.block()] = sum;
  }
};

// first_A += columns [0, A) of Σ_blocks partial[block, C], second += the others.
struct SplitTotals {
  float* first_A;
  float* second;
  const float* partial;
  std::int64_t blocks, first_columns, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, columns, [&](std::int64_t c) {
      float sum = 0;
      for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b * columns + c];
      (c < first_columns ? first_A[c] : second[c - first_columns]) += sum;
    });
  }
};

// A block a column; out += .
struct ColumnSums {
  double* out_C;
  const float* in_TC;
  std::int64_t tokens, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    double sum = 0;
    for_each_pack<1>(t, tokens, [&](std::int64_t i) {
      sum += static_cast<double>(in_TC[i * columns + t.block()]);
    });
    sum = block_sum(t, sum);
    if (t.index() == 0) out_C[t.block()] += sum;
  }
};

}  // namespace dualpath::gpu
