// Kernels in which a block takes whole rows: norms, embedding, sums. Mathematics: core/ops/norm.h,
// core/ops/movement.h and others.
#pragma once

#include "core/cuda/kernels/launch.h"

namespace dualpath::gpu {

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

// ---- launches

struct PartialSums {
  double* sums;  // [blocks]
  std::int64_t blocks;
};
// Σ a·b
PartialSums partial_dot(auto& on, Tensor a, Tensor b) {
  const std::int64_t blocks =
      std::min<std::int64_t>((a.numel() + block_threads - 1) / block_threads, 2 * on.full_grid());
  double* const sums = partial_sums<double>(on, blocks, 1);
  with_type(a, [&]<class T>() {
    launch_blocks(
        on, blocks, block_threads, 0,
        PartialDot<T, T>{.partial = sums, .a = a.as<T>(), .b = b.as<T>(), .count = a.numel()});
  });
  return {sums, blocks};
}

void launch(auto& on, const op::Embedding& op) {
  with_type(op.out_TD, [&]<class S>() {
    launch_rows(on, op.out_TD.rows(), op.out_TD.cols(),
                Embedding<S>{.out_TD = op.out_TD.as<S>(),
                             .ids_T = op.ids_T.as<std::int32_t>(),
                             .table_VD = op.table_VD.as<float>(),
                             .rows = op.rows,
                             .table_rows = op.table_VD.rows(),
                             .width = op.out_TD.cols()});
  });
}

void launch(auto& on, const op::EmbeddingBackward& op) {
  with_type(op.dout_TD, [&]<class S>() {
    launch_blocks(on, op.dout_TD.rows(), block_threads,
                  block_threads / warp_size * sizeof(std::uint32_t),
                  EmbeddingBackward<S>{.grad_VD = op.grad_VD.as<float>(),
                                       .ids_T = op.ids_T.as<std::int32_t>(),
                                       .dout_TD = op.dout_TD.as<S>(),
                                       .rows = op.rows,
                                       .table_rows = op.grad_VD.rows(),
                                       .tokens = op.dout_TD.rows(),
                                       .width = op.dout_TD.cols()});
  });
}

void launch(auto& on, const op::ResidualRmsNorm& op) {
  const std::int64_t width = op.x_TD.cols();
  with_types(op.x_TD, op.normed_TD, [&]<class S, class O>() {
    with_packs(takes_packs(width, {op.out_TD, op.normed_TD, op.x_TD, op.y_TD, op.weight_D}),
               [&]<int N>() {
                 launch_blocks(on, op.x_TD.rows(), row_threads(width, N), 0,
                               RmsNorm<S, O, N>{.sum_TD = optional<S>(op.out_TD),
                                                .out_TD = op.normed_TD.as<O>(),
                                                .rstd_T = op.rstd_T.as<float>(),
                                                .x_TD = op.x_TD.as<S>(),
                                                .y_TD = optional<O>(op.y_TD),
                                                .gain = optional<float>(op.gain),
                                                .weight_D = op.weight_D.as<float>(),
                                                .width = width,
                                                .epsilon = op.epsilon});
               });
  });
}

// The same without a residual.
void launch(auto& on, const op::RmsNorm& op) {
  launch(on, op::ResidualRmsNorm{.out_TD = {},
                                 .normed_TD = op.out_TD,
                                 .rstd_T = op.rstd_T,
                                 .x_TD = op.x_TD,
                                 .y_TD = {},
                                 .weight_D = op.weight_D,
                                 .epsilon = op.epsilon});
}

void launch(auto& on, const op::RmsNormBackward& op) {
  const std::int64_t tokens = op.x_TD.rows(), width = op.x_TD.cols();
  const std::int64_t blocks = summing_blocks(on, tokens);
  float* partial = partial_sums<float>(on, blocks, width);
  with_types(op.x_TD, op.dout_TD, [&]<class S, class O>() {
    with_packs(takes_packs(width, {op.dx_TD, op.dout_TD, op.x_TD, op.weight_D}), [&]<int N>() {
      launch_blocks(on, blocks, row_threads(width, N),
                    static_cast<std::size_t>(width) * sizeof(float),
                    RmsNormBackward<S, O, N>{.dx_TD = op.dx_TD.as<S>(),
                                             .partial = partial,
                                             .dout_TD = op.dout_TD.as<O>(),
                                             .x_TD = op.x_TD.as<S>(),
                                             .weight_D = op.weight_D.as<float>(),
                                             .rstd_T = op.rstd_T.as<float>(),
                                             .tokens = tokens,
                                             .width = width});
    });
  });
  add_columns(on, ColumnTotals<float>{.total_C = op.dweight_D.as<float>(),
                                      .partial = partial,
                                      .blocks = blocks,
                                      .columns = width});
}

void launch(auto& on, const op::ResidualGainBackward& op) {
  const auto [sums, blocks] = partial_dot(on, op.da, op.a);
  launch_blocks(on, 1, warp_size, 0,
                GainTotal{.dgain = op.dgain.as<float>(),
                          .partial = sums,
                          .gain = op.gain.as<float>(),
                          .blocks = blocks});
}

void launch(auto& on, const op::RowDot& op) {
  with_type(op.a_TD, [&]<class S>() {
    launch_rows(on, op.a_TD.rows(), op.a_TD.cols(),
                RowDot<S>{.out_T = op.out_T.as<float>(),
                          .a_TD = op.a_TD.as<S>(),
                          .b_TD = op.b_TD.as<S>(),
                          .width = op.a_TD.cols()});
  });
}

void launch(auto& on, const op::ColumnSums& op) {
  launch_blocks(on, op.out_C.numel(), block_threads, 0,
                ColumnSums{.out_C = op.out_C.as<double>(),
                           .in_TC = op.in_TC.as<float>(),
                           .tokens = op.in_TC.rows(),
                           .columns = op.out_C.numel()});
}

void launch(auto& on, const op::SumOfSquares& op) {
  const auto [sums, blocks] = partial_dot(on, op.x_N, op.x_N);
  add_columns(on,
              ColumnTotals<double>{
                  .total_C = op.out.as<double>(), .partial = sums, .blocks = blocks, .columns = 1});
}

}  // namespace dualpath::gpu
