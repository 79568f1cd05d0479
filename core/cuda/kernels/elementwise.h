// Kernels that treat each element, or each token, by itself. Mathematics: core/ops/.
#pragma once

#include "core/cuda/kernels/launch.h"

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

// ---- launches

void launch(auto& on, const op::Fill& op) {
  const auto run = [&]<class T>() {
    with_packs(takes_packs(op.out.numel(), {op.out}), [&]<int N>() {
      launch_elements(on, op.out.numel(), N,
                      Fill<T, N>{.out = op.out.as<T>(),
                                 .value = static_cast<float>(op.value),
                                 .count = op.out.numel()});
    });
  };
  if (op.out.dtype == DType::f64) return run.template operator()<double>();
  if (op.out.dtype == DType::i32) return run.template operator()<std::int32_t>();
  with_type(op.out, run);
}

void launch(auto& on, const op::Copy& op) {
  with_packs(takes_packs(op.out.numel(), {op.out, op.in}), [&]<int N>() {
    const auto move = [&]<class T>() {
      launch_elements(
          on, op.out.numel(), N,
          Move<T, N>{.out = op.out.as<T>(), .in = op.in.as<T>(), .count = op.out.numel()});
    };
    if (op.in.dtype == DType::i32) return move.template operator()<std::int32_t>();
    if (op.in.dtype == op.out.dtype) return with_type(op.in, move);
    launch_elements(on, op.out.numel(), N,
                    Scaled<float, bfloat16, N>{.out = op.out.as<bfloat16>(),
                                               .in = op.in.as<float>(),
                                               .gain = nullptr,
                                               .count = op.out.numel()});
  });
}

void launch(auto& on, const op::Residual& op) {
  with_packs(takes_packs(op.out_TD.numel(), {op.out_TD, op.x_TD, op.y_TD}), [&]<int N>() {
    with_type(op.out_TD, [&]<class A>() {
      with_type(op.y_TD, [&]<class B>() {
        launch_elements(on, op.out_TD.numel(), N,
                        ScaledSum<A, B, N>{.out = op.out_TD.as<A>(),
                                           .a = op.x_TD.as<A>(),
                                           .b = op.y_TD.as<B>(),
                                           .gain = optional<float>(op.gain),
                                           .count = op.out_TD.numel()});
      });
    });
  });
}

void launch(auto& on, const op::Add& op) {
  launch(on, op::Residual{.out_TD = op.out, .x_TD = op.out, .y_TD = op.in});
}

void launch(auto& on, const op::Sum& op) {
  launch(on, op::Residual{.out_TD = op.out, .x_TD = op.a, .y_TD = op.b});
}

void launch(auto& on, const op::ResidualBackward& op) {
  with_types(op.dout_TD, op.dy_TD, [&]<class S, class O>() {
    with_packs(takes_packs(op.dy_TD.numel(), {op.dy_TD, op.dout_TD}), [&]<int N>() {
      launch_elements(on, op.dy_TD.numel(), N,
                      Scaled<S, O, N>{.out = op.dy_TD.as<O>(),
                                      .in = op.dout_TD.as<S>(),
                                      .gain = optional<float>(op.gain),
                                      .count = op.dy_TD.numel()});
    });
  });
}

void launch(auto& on, const op::SwiGlu& op) {
  with_type(op.out_TF, [&]<class O>() {
    with_packs(takes_packs(op.out_TF.cols(), {op.out_TF, op.gate_up_T2F}), [&]<int N>() {
      launch_elements(on, op.out_TF.numel(), N,
                      SwiGlu<O, N>{.out_TF = op.out_TF.as<O>(),
                                   .gate_up_T2F = op.gate_up_T2F.as<O>(),
                                   .tokens = op.out_TF.rows(),
                                   .hidden = op.out_TF.cols()});
    });
  });
}

void launch(auto& on, const op::SwiGluBackward& op) {
  with_type(op.out_TF, [&]<class O>() {
    with_packs(
        takes_packs(op.out_TF.cols(), {op.out_TF, op.dout_TF, op.dgate_up_T2F, op.gate_up_T2F}),
        [&]<int N>() {
          launch_elements(on, op.out_TF.numel(), N,
                          SwiGluBackward<O, N>{.dgate_up_T2F = op.dgate_up_T2F.as<O>(),
                                               .out_TF = op.out_TF.as<O>(),
                                               .dout_TF = op.dout_TF.as<O>(),
                                               .gate_up_T2F = op.gate_up_T2F.as<O>(),
                                               .tokens = op.out_TF.rows(),
                                               .hidden = op.out_TF.cols()});
        });
  });
}

void launch(auto& on, const op::AdamW& op) {
  const auto f = [](double x) { return static_cast<float>(x); };
  with_type(op.operand_N.empty() ? op.value_N : op.operand_N, [&]<class O>() {
    with_packs(
        takes_packs(op.value_N.numel(), {op.value_N, op.m_N, op.v_N, op.operand_N, op.gradient_N}),
        [&]<int N>() {
          launch_elements(on, op.value_N.numel(), N,
                          AdamW<O, N>{.value = op.value_N.as<float>(),
                                      .m = op.m_N.as<float>(),
                                      .v = op.v_N.as<float>(),
                                      .operand = optional<O>(op.operand_N),
                                      .gradient = op.gradient_N.as<float>(),
                                      .learning_rate = f(op.step.learning_rate),
                                      .beta1 = f(op.step.beta1),
                                      .beta2 = f(op.step.beta2),
                                      .rest1 = f(1 - op.step.beta1),
                                      .rest2 = f(1 - op.step.beta2),
                                      .epsilon = f(op.step.epsilon),
                                      .weight_decay = f(op.step.weight_decay),
                                      .correction1 = f(op.step.correction1),
                                      .correction2 = f(op.step.correction2),
                                      .gradient_scale = f(op.step.gradient_scale),
                                      .count = op.value_N.numel()});
        });
  });
}

}  // namespace dualpath::gpu
