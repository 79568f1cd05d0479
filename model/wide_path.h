// The wide path (also the one path of a standard layer): attention for this rank's tokens, and an
// FFN whose hidden units are cut over the ranks of the tensor axis, each of which has other tokens:
//
//   n = RMSNorm(u)                 this rank's tokens             start all-gather of n
//   y = FFN(n)                     all ranks' tokens, own units   start reduce-scatter of y
//   out = u + s·y                  this rank's tokens
//
// and in the backward pass all-gathers of dy = s·dout and n, a reduce-scatter of dn. Sums over
// ranks are made in the master type. Each pass is in three pieces, between which its caller does
// other work (the deep loop) while the data travels; with one rank nothing travels.
#pragma once

#include <string>

#include "model/sublayer.h"

namespace dualpath {

// Names: T this rank's tokens, S those of all ranks of the tensor axis.
struct WideStash {
  SublayerStash sublayer;
  Tensor normed_SD;  // kept only where a layer is recomputed; empty: gathered again
};

class WidePath {
 public:
  WidePath(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
           const SublayerShape& shape, const Attention* shared);

  WideStash allocate_stash(const Context& ctx, Arena& arena, bool with_attention) const;
  // For the pass that rebuilds a stash and goes on to the backward pass: n is gathered once.
  WideStash allocate_rebuilt(const Context& ctx, bool with_attention) const;

  // A pass under way; its tensors lie in scratch that the caller's frame holds.
  struct Forward {
    Tensor u_TD;
    Tensor gate_up_S2F;  // empty: not kept
    Tensor y_TD;
    Tensor normed_SD;
    Tensor y_SD;
  };
  // x is the layer's input; shared_y: the output of a shared attention, or empty.
  Forward begin_forward(const Context& ctx, WideStash& stash, Tensor x_TD,
                        Tensor shared_y_TD) const;
  void run_ffn(const Context& ctx, const Forward& pass) const;
  // The part of it that fills the stash, where nobody wants the output.
  void run_ffn_up(const Context& ctx, const Forward& pass) const;
  // out = Φ(x; s)
  void finish_forward(const Context& ctx, const Forward& pass, Tensor out_TD) const;

  struct Backward {
    SublayerStash sublayer;  // kept, or rebuilt but for gate_up
    Norm::Output n;          // of this rank's tokens
    Tensor normed_SD;
    Tensor dy_SD;
    Tensor dnormed_SD;
  };
  // d = ∂L/∂out; stays as it is until finish_backward().
  Backward begin_backward(const Context& ctx, WideStash& stash, Tensor x_TD, Tensor shared_y_TD,
                          Tensor d_TD) const;
  void run_ffn_backward(const Context& ctx, const Backward& pass) const;
  // In place: d = ∂L/∂out becomes ∂L/∂x. With a shared attention, without the part through its
  // output y; dy += ∂L/∂y.
  void finish_backward(const Context& ctx, const Backward& pass, Tensor x_TD, Tensor shared_y_TD,
                       Tensor shared_dy_TD, Tensor d_TD) const;
  // What run_ffn_backward() left in ctx.deferred.
  void backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const;

 private:
  Tensor group_SD(const Context& ctx, Arena& arena, DType type) const;

  std::int64_t width_;
  Sublayer sublayer_;
};

}  // namespace dualpath
