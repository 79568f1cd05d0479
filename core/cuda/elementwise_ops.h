// Fill, copies, residuals, SwiGLU and AdamW: the launches of elementwise_kernels.h.
#pragma once

#include "core/cuda/elementwise_kernels.h"
#include "core/cuda/launching_ops.h"

namespace dualpath::gpu {

template <class Base>
class ElementwiseOps : public Base {
 public:
  using Base::Base;

  void fill(Tensor out, double value) override {
    const auto run = [&]<class T>() {
      with_packs(takes_packs(out.numel(), {out}), [&]<int N>() {
        this->launch_elements(out.numel(), N,
                              Fill<T, N>{out.as<T>(), static_cast<float>(value), out.numel()});
      });
    };
    if (out.dtype == DType::f64) return run.template operator()<double>();
    if (out.dtype == DType::i32) return run.template operator()<std::int32_t>();
    with_type(out, run);
  }
  void copy(Tensor out, Tensor in) override {
    check_copy(out, in);
    with_packs(takes_packs(out.numel(), {out, in}), [&]<int N>() {
      const auto move = [&]<class T>() {
        this->launch_elements(out.numel(), N, Move<T, N>{out.as<T>(), in.as<T>(), out.numel()});
      };
      if (in.dtype == DType::i32) return move.template operator()<std::int32_t>();
      if (in.dtype == out.dtype) return with_type(in, move);
      this->launch_elements(
          out.numel(), N,
          Scaled<float, bfloat16, N>{out.as<bfloat16>(), in.as<float>(), nullptr, out.numel()});
    });
  }
  void add(Tensor out, Tensor in) override {
    check_add(out, in);
    scaled_sum(out, out, in, {});
  }
  void sum(Tensor out, Tensor a, Tensor b) override {
    check_sum(out, a, b);
    scaled_sum(out, a, b, {});
  }
  void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) override {
    check_residual(out_TD, x_TD, y_TD, gain);
    scaled_sum(out_TD, x_TD, y_TD, gain);
  }
  void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) override {
    check_residual_backward(dy_TD, dout_TD, gain);
    with_types(dout_TD, dy_TD, [&]<class S, class O>() {
      with_packs(takes_packs(dy_TD.numel(), {dy_TD, dout_TD}), [&]<int N>() {
        this->launch_elements(
            dy_TD.numel(), N,
            Scaled<S, O, N>{dy_TD.as<O>(), dout_TD.as<S>(), optional<float>(gain), dy_TD.numel()});
      });
    });
  }
  void swiglu(Tensor out_TF, Tensor gate_up_T2F) override {
    check_swiglu(out_TF, gate_up_T2F);
    with_type(out_TF, [&]<class O>() {
      with_packs(takes_packs(out_TF.cols(), {out_TF, gate_up_T2F}), [&]<int N>() {
        this->launch_elements(
            out_TF.numel(), N,
            SwiGlu<O, N>{out_TF.as<O>(), gate_up_T2F.as<O>(), out_TF.rows(), out_TF.cols()});
      });
    });
  }
  void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                       Tensor gate_up_T2F) override {
    check_swiglu_backward(dgate_up_T2F, out_TF, dout_TF, gate_up_T2F);
    with_type(out_TF, [&]<class O>() {
      with_packs(takes_packs(out_TF.cols(), {out_TF, dout_TF, dgate_up_T2F, gate_up_T2F}),
                 [&]<int N>() {
                   this->launch_elements(
                       out_TF.numel(), N,
                       SwiGluBackward<O, N>{dgate_up_T2F.as<O>(), out_TF.as<O>(), dout_TF.as<O>(),
                                            gate_up_T2F.as<O>(), out_TF.rows(), out_TF.cols()});
                 });
    });
  }
  void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
             const AdamWStep& step) override {
    check_adamw(value_N, m_N, v_N, operand_N, gradient_N);
    const auto f = [](double x) { return static_cast<float>(x); };
    with_type(operand_N.empty() ? value_N : operand_N, [&]<class O>() {
      with_packs(
          takes_packs(value_N.numel(), {value_N, m_N, v_N, operand_N, gradient_N}), [&]<int N>() {
            this->launch_elements(
                value_N.numel(), N,
                AdamW<O, N>{value_N.as<float>(), m_N.as<float>(), v_N.as<float>(),
                            optional<O>(operand_N), gradient_N.as<float>(), f(step.learning_rate),
                            f(step.beta1), f(step.beta2), f(1 - step.beta1), f(1 - step.beta2),
                            f(step.epsilon), f(step.weight_decay), f(step.correction1),
                            f(step.correction2), f(step.gradient_scale), value_N.numel()});
          });
    });
  }

 private:
  void scaled_sum(Tensor out, Tensor a, Tensor b, Tensor gain) {
    with_packs(takes_packs(out.numel(), {out, a, b}), [&]<int N>() {
      with_type(out, [&]<class A>() {
        with_type(b, [&]<class B>() {
          this->launch_elements(out.numel(), N,
                                ScaledSum<A, B, N>{out.as<A>(), a.as<A>(), b.as<B>(),
                                                   optional<float>(gain), out.numel()});
        });
      });
    });
  }
};

}  // namespace dualpath::gpu
