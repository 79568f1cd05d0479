// Kernels in which a block takes whole rows: norms, embedding, mixture, gates. Mathematics:
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

// A block a token.
template <class S>
struct MixtureStep {
  S* h_deep_TD;
  float* weight_T;
  float* q_T;  // these two null without a router
  float* remaining_T;
  const S* h_TD;
  const float* router_w;
  const float* router_b;
  LoopCombine combine;
  bool first, last;
  float mean_weight;  // 1/K
  float feature;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float weight = combine == LoopCombine::mean ? mean_weight : last ? 1.0F : 0.0F;
    if (combine == LoopCombine::mixture) {
      float logit = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        logit += router_w[d] * static_cast<float>(h_TD[row + d]);
      });
      logit = block_sum(t, logit) + router_b[0] + router_w[width] * feature;
      const float q = sigmoid(logit);
      const float remaining = first ? 1.0F : remaining_T[token];
      weight = last ? remaining : remaining * q;
      t.barrier();  // all have read remaining
      if (t.index() == 0) {
        q_T[token] = q;
        remaining_T[token] = remaining * (1 - q);
      }
    }
    if (t.index() == 0) weight_T[token] = weight;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float before = first ? 0.0F : static_cast<float>(h_deep_TD[row + d]);
      h_deep_TD[row + d] = static_cast<S>(before + weight * static_cast<float>(h_TD[row + d]));
    });
  }
};

// Block b takes tokens b, b + blocks, …; partial[b, D+2] = Σ dlogit·[h ; feature ; 1]. Without a
// router, dlogit and partial are null.
template <class S>
struct MixtureStepBackward {
  S* dh_TD;
  float* partial;
  const S* dh_deep_TD;
  const S* h_TD;
  const float* weight_T;
  const float* dlogit_T;
  const float* router_w;
  float feature;
  std::int64_t tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const bool router = dlogit_T != nullptr;
    auto* sums = static_cast<float*>(t.shared());
    float feature_sum = 0, bias_sum = 0;
    if (router) for_each_pack<1>(t, width, [&](std::int64_t d) { sums[d] = 0; });
    for (std::int64_t token = t.block(); token < tokens; token += t.num_blocks()) {
      const std::int64_t row = token * width;
      const float weight = weight_T[token], dlogit = router ? dlogit_T[token] : 0.0F;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        float dh =
            static_cast<float>(dh_TD[row + d]) + weight * static_cast<float>(dh_deep_TD[row + d]);
        if (router) {
          dh += dlogit * router_w[d];
          sums[d] += dlogit * static_cast<float>(h_TD[row + d]);
        }
        dh_TD[row + d] = static_cast<S>(dh);
      });
      feature_sum += dlogit * feature;
      bias_sum += dlogit;
    }
    if (!router) return;
    float* mine = partial + t.block() * (width + 2);
    for_each_pack<1>(t, width, [&](std::int64_t d) { mine[d] = sums[d]; });
    if (t.index() == 0) {
      mine[width] = feature_sum;
      mine[width + 1] = bias_sum;
    }
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

// A block a token.
template <class S>
struct Gate {
  S* y_TD;
  float* gates_T2;
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* weight_ND;
  const float* bias_N;
  GateMode mode;
  GateTarget target;
  int num_logits;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float logits[2] = {0, 0};
    for (int n = 0; n < num_logits; ++n) {
      float sum = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        sum += static_cast<float>(x_TD[row + d]) * weight_ND[n * width + d];
      });
      logits[n] = block_sum(t, sum) + bias_N[n];
    }
    float deep = 0.5F, wide = 0.5F;
    if (mode == GateMode::two_sigmoid) {
      deep = sigmoid(logits[0]);
      wide = sigmoid(logits[1]);
    } else if (mode == GateMode::convex) {
      deep = sigmoid(logits[0]);
      wide = 1 - deep;
    } else if (mode == GateMode::softmax) {
      const float largest = fmaxf(logits[0], logits[1]);
      const float a = expf(logits[0] - largest), b = expf(logits[1] - largest);
      deep = a / (a + b);
      wide = b / (a + b);
    }
    if (t.index() == 0) {
      gates_T2[token * 2] = deep;
      gates_T2[token * 2 + 1] = wide;
    }
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float x = x_TD[row + d], hd = h_deep_TD[row + d], hw = h_wide_TD[row + d];
      const float y = target == GateTarget::states ? deep * hd + wide * hw
                                                   : x + deep * (hd - x) + wide * (hw - x);
      y_TD[row + d] = static_cast<S>(y);
    });
  }
};

// Block b takes tokens b, b + blocks, …; partial[b, N·D + N] = Σ dlogit·[x ; 1]. dx may be dy.
template <class S>
struct GateBackward {
  S* dx_TD;
  S* dh_deep_TD;
  S* dh_wide_TD;
  float* partial;
  const S* dy_TD;
  const float* dgates_T2;  // or null
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* gates_T2;
  const float* weight_ND;
  GateMode mode;
  GateTarget target;
  int num_logits;
  std::int64_t tokens, width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const bool updates = target == GateTarget::updates;
    auto* sums = static_cast<float*>(t.shared());  // [N, D]
    float bias_sums[2] = {0, 0};
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      for (int n = 0; n < num_logits; ++n) sums[n * width + d] = 0;
    });
    for (std::int64_t token = t.block(); token < tokens; token += t.num_blocks()) {
      const std::int64_t row = token * width;
      const float deep = gates_T2[token * 2], wide = gates_T2[token * 2 + 1];
      float dg_deep = 0, dg_wide = 0;
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        const float dy = dy_TD[row + d], from = updates ? static_cast<float>(x_TD[row + d]) : 0.0F;
        dg_deep += dy * (static_cast<float>(h_deep_TD[row + d]) - from);
        dg_wide += dy * (static_cast<float>(h_wide_TD[row + d]) - from);
      });
      dg_deep = block_sum(t, dg_deep);
      dg_wide = block_sum(t, dg_wide);
      if (dgates_T2 != nullptr) {
        dg_deep += dgates_T2[token * 2];
        dg_wide += dgates_T2[token * 2 + 1];
      }
      float dlogits[2] = {0, 0};
      if (mode == GateMode::two_sigmoid) {
        dlogits[0] = dg_deep * deep * (1 - deep);
        dlogits[1] = dg_wide * wide * (1 - wide);
      } else if (mode != GateMode::fixed) {
        dlogits[0] = (dg_deep - dg_wide) * deep * wide;
        dlogits[1] = -dlogits[0];
      }
      for_each_pack<1>(t, width, [&](std::int64_t d) {
        const float dy = dy_TD[row + d], x = x_TD[row + d];
        float dx = updates ? (1 - deep - wide) * dy : 0.0F;
        for (int n = 0; n < num_logits; ++n) {
          dx += dlogits[n] * weight_ND[n * width + d];
          sums[n * width + d] += dlogits[n] * x;
        }
        dh_deep_TD[row + d] = static_cast<S>(deep * dy);
        dh_wide_TD[row + d] = static_cast<S>(wide * dy);
        dx_TD[row + d] = static_cast<S>(dx);
      });
      for (int n = 0; n < num_logits; ++n) bias_sums[n] += dlogits[n];
    }
    if (num_logits == 0) return;
    float* mine = partial + t.block() * num_logits * (width + 1);
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      for (int n = 0; n < num_logits; ++n) mine[n * width + d] = sums[n * width + d];
    });
    if (t.index() == 0)
      for (int n = 0; n < num_logits; ++n) mine[num_logits * width + n] = bias_sums[n];
  }
};

DUALPATH_HOST_DEVICE inline float gate_share(float deep, float wide) {
  const float total = deep + wide;
  return total == 0 ? 0.5F : deep / total;
}
DUALPATH_HOST_DEVICE inline float binary_entropy(float p) {
  const float q = 1 - p;
  return (p == 0 ? 0.0F : -p * logf(p)) - (q == 0 ? 0.0F : q * logf(q));
}

// A block a sequence; partial[block, 2]: its parts of the two losses.
struct GateRegularizer {
  float* dgates_T2;
  double* partial;
  const float* gates_T2;
  std::int64_t positions;
  float entropy_scale, balance_scale;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const float* gates = gates_T2 + t.block() * positions * 2;
    float* dgates = dgates_T2 + t.block() * positions * 2;
    double share = 0, entropy = 0;
    for_each_pack<1>(t, positions, [&](std::int64_t i) {
      const float p = gate_share(gates[i * 2], gates[i * 2 + 1]);
      share += static_cast<double>(p);
      entropy += static_cast<double>(binary_entropy(p));
    });
    share = block_sum(t, share);
    entropy = block_sum(t, entropy);
    const double excess = share / static_cast<double>(positions) - 0.5;
    if (t.index() == 0) {
      partial[t.block() * 2] = -entropy;
      partial[t.block() * 2 + 1] = excess * excess;
    }
    const float balance =
        balance_scale * 2 * static_cast<float>(excess) / static_cast<float>(positions);
    for_each_pack<1>(t, positions, [&](std::int64_t i) {
      const float deep = gates[i * 2], wide = gates[i * 2 + 1];
      const bool flat = deep == 0 || wide == 0;
      const float total = deep + wide;
      const float dp = flat ? 0.0F : entropy_scale * logf(deep / wide) + balance;
      dgates[i * 2] = flat ? 0.0F : dp * wide / (total * total);
      dgates[i * 2 + 1] = flat ? 0.0F : -(dp * deep / (total * total));
    });
  }
};

// A block a token.
template <class S>
struct PathReadoutRow {
  float* readout_TC;
  const S* x_TD;
  const S* h_deep_TD;
  const S* h_wide_TD;
  const float* gates_T2;
  std::int64_t width;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const std::int64_t token = t.block(), row = token * width;
    float deep = 0, wide = 0, both = 0, input = 0;
    for_each_pack<1>(t, width, [&](std::int64_t d) {
      const float x = x_TD[row + d];
      const float a = static_cast<float>(h_deep_TD[row + d]) - x;
      const float b = static_cast<float>(h_wide_TD[row + d]) - x;
      deep += a * a;
      wide += b * b;
      both += a * b;
      input += x * x;
    });
    deep = sqrtf(block_sum(t, deep));
    wide = sqrtf(block_sum(t, wide));
    both = block_sum(t, both);
    input = sqrtf(block_sum(t, input));
    if (t.index() != 0) return;
    const float gd = gates_T2[token * 2], gw = gates_T2[token * 2 + 1];
    const float moved = gd * deep + gw * wide;
    float* out = readout_TC + token * PathReadout::num_columns;
    out[PathReadout::gate_deep] = gd;
    out[PathReadout::gate_wide] = gw;
    out[PathReadout::gate_entropy] = binary_entropy(gate_share(gd, gw));
    out[PathReadout::deep_share] = moved == 0 ? 0.5F : gd * deep / moved;
    out[PathReadout::cosine] = deep == 0 || wide == 0 ? 0.0F : both / (deep * wide);
    out[PathReadout::input_norm] = input;
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
