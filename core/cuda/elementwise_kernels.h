// Kernels that treat each element, or each token, by itself. Mathematics: core/ops.h.
#pragma once

#include "core/cuda/block.h"

namespace dualpath::gpu {

template <class T, int N>
struct Fill {
  T* out;
  float value;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<N>(t, count, [&](std::int64_t i) {
      Pack<T, N> o;
      for (int k = 0; k < N; ++k) o.at[k] = static_cast<T>(value);
      store(out + i, o);
    });
  }
};

template <class T, int N>
struct Move {
  T* out;
  const T* in;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<N>(t, count, [&](std::int64_t i) { store(out + i, load<N>(in + i)); });
  }
};

// out = a + scale·b; gain: of the scale, or null.
template <class A, class B, int N>
struct ScaledSum {
  A* out;
  const A* a;
  const B* b;
  const float* gain;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const float scale = residual_scale(gain);
    for_each_pack_of_grid<N>(t, count, [&](std::int64_t i) {
      const auto x = load<N>(a + i);
      const auto y = load<N>(b + i);
      Pack<A, N> o;
      for (int k = 0; k < N; ++k)
        o.at[k] = static_cast<A>(static_cast<float>(x.at[k]) + scale * static_cast<float>(y.at[k]));
      store(out + i, o);
    });
  }
};

// out = scale·in, in another type or the same; without a gain a conversion
template <class From, class To, int N>
struct Scaled {
  To* out;
  const From* in;
  const float* gain;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    const float scale = residual_scale(gain);
    for_each_pack_of_grid<N>(t, count, [&](std::int64_t i) {
      const auto x = load<N>(in + i);
      Pack<To, N> o;
      for (int k = 0; k < N; ++k) o.at[k] = static_cast<To>(scale * static_cast<float>(x.at[k]));
      store(out + i, o);
    });
  }
};

// Grid over T·F; N divides F.
template <class O, int N>
struct SwiGlu {
  O* out_TF;
  const O* gate_up_T2F;
  std::int64_t tokens, hidden;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<N>(t, tokens * hidden, [&](std::int64_t i) {
      const O* gate = gate_up_T2F + i + i / hidden * hidden;
      const auto g = load<N>(gate);
      const auto u = load<N>(gate + hidden);
      Pack<O, N> o;
      for (int k = 0; k < N; ++k) {
        const float x = g.at[k];
        o.at[k] = static_cast<O>(x * sigmoid(x) * static_cast<float>(u.at[k]));
      }
      store(out_TF + i, o);
    });
  }
};

// silu'(x) = σ(x)·(1 + x·(1-σ(x)))
template <class O, int N>
struct SwiGluBackward {
  O* dgate_up_T2F;
  O* out_TF;
  const O* dout_TF;
  const O* gate_up_T2F;
  std::int64_t tokens, hidden;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<N>(t, tokens * hidden, [&](std::int64_t i) {
      const std::int64_t row = i + i / hidden * hidden;
      const auto g = load<N>(gate_up_T2F + row);
      const auto u = load<N>(gate_up_T2F + row + hidden);
      const auto d = load<N>(dout_TF + i);
      Pack<O, N> o, dg, du;
      for (int k = 0; k < N; ++k) {
        const float x = g.at[k], up = u.at[k], dout = d.at[k];
        const float s = sigmoid(x);
        o.at[k] = static_cast<O>(x * s * up);
        dg.at[k] = static_cast<O>(dout * up * s * (1 + x * (1 - s)));
        du.at[k] = static_cast<O>(dout * x * s);
      }
      store(out_TF + i, o);
      store(dgate_up_T2F + row, dg);
      store(dgate_up_T2F + row + hidden, du);
    });
  }
};

struct ExpectedIterations {
  float* out_T;
  const float* weight_KT;
  std::int64_t iterations, tokens;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, tokens, [&](std::int64_t i) {
      float sum = 0;
      for (std::int64_t k = 0; k < iterations; ++k)
        sum += static_cast<float>(k + 1) * weight_KT[k * tokens + i];
      out_T[i] = sum;
    });
  }
};

struct MixtureWeightsBackward {
  float* dlogit_KT;
  const float* c_KT;
  const float* q_KT;
  float ponder_scale;
  std::int64_t iterations, tokens;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, tokens, [&](std::int64_t i) {
      const auto q = [&](std::int64_t k) { return q_KT[k * tokens + i]; };
      const auto c = [&](std::int64_t k) {
        return c_KT[k * tokens + i] + ponder_scale * static_cast<float>(k + 1);
      };
      dlogit_KT[(iterations - 1) * tokens + i] = 0;
      float later = c(iterations - 1);  // R_{k+1}
      for (std::int64_t k = iterations - 2; k >= 0; --k) {
        float remaining = 1;  // π_k
        for (std::int64_t j = 0; j < k; ++j) remaining *= 1 - q(j);
        dlogit_KT[k * tokens + i] = remaining * (c(k) - later) * q(k) * (1 - q(k));
        later = q(k) * c(k) + (1 - q(k)) * later;
      }
    });
  }
};

// operand: null where it is not wanted.
template <class O, int N>
struct AdamW {
  float* value;
  float* m;
  float* v;
  O* operand;
  const float* gradient;
  float learning_rate, beta1, beta2, rest1, rest2;  // rest: 1 - beta
  float epsilon, weight_decay, correction1, correction2, gradient_scale;
  std::int64_t count;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<N>(t, count, [&](std::int64_t i) {
      const auto gs = load<N>(gradient + i);
      auto ms = load<N>(m + i), vs = load<N>(v + i), values = load<N>(value + i);
      Pack<O, N> copies;
      for (int k = 0; k < N; ++k) {
        const float g = gs.at[k] * gradient_scale;
        ms.at[k] = beta1 * ms.at[k] + rest1 * g;
        vs.at[k] = beta2 * vs.at[k] + rest2 * g * g;
        const float direction = ms.at[k] / correction1 / (sqrtf(vs.at[k] / correction2) + epsilon);
        values.at[k] -= learning_rate * (direction + weight_decay * values.at[k]);
        copies.at[k] = static_cast<O>(values.at[k]);
      }
      store(m + i, ms);
      store(v + i, vs);
      store(value + i, values);
      if (operand != nullptr) store(operand + i, copies);
    });
  }
};

}  // namespace dualpath::gpu
