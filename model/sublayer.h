// Φ(x; s): u = x + s·Attn(RMSNorm(x)); Φ = u + s·FFN(RMSNorm(u)) — one application of one path's
// weights (arXiv 2605.30202). A wide or standard layer applies it once, the deep loop K times.
#pragma once

#include <string>

#include "model/attention.h"
#include "model/ffn.h"

namespace dualpath {

// What one application keeps besides its input. All empty: nothing is kept, the backward pass
// first runs the forward pass again.
struct SublayerStash {
  AttentionStash attention;  // empty where the application uses a shared attention output
  Tensor u_TD;
  Tensor gate_up_T2F;

  bool kept() const { return !u_TD.empty(); }
};

struct SublayerShape {
  std::int64_t hidden_units;    // F
  std::int64_t iterations = 1;  // gains, one for each
  std::int64_t num_norms = 1;   // norm weights: 1, or one for each iteration
  bool gained = true;           // false: s = 1
  double gain_init = 0;
  double output_std;  // initial deviation of the output and down projections
};

class Sublayer {
 public:
  // Declares attention, FFN and gain under PREFIX; with `shared`, that attention is used instead.
  Sublayer(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
           const SublayerShape& shape, const Attention* shared);

  // with_attention: false for an application that goes through forward_after_attention().
  SublayerStash allocate_stash(const Context& ctx, Arena& arena, bool with_attention) const;

  // out = Φ(x; s_k); an empty `out` stops when the stash is filled. k counts from 0.
  void forward(const Context& ctx, SublayerStash& stash, Tensor x_TD, Tensor out_TD,
               std::int64_t k) const;
  // The same from an attention output y that was computed before (the shared attention).
  void forward_after_attention(const Context& ctx, SublayerStash& stash, Tensor x_TD, Tensor y_TD,
                               Tensor out_TD, std::int64_t k) const;

  // In place: d = ∂L/∂out becomes d = ∂L/∂x. Parameter gradients +=. Consumes the stash.
  void backward(const Context& ctx, const SublayerStash& stash, Tensor x_TD, Tensor d_TD,
                std::int64_t k) const;
  // The same where y came from outside: d = ∂L/∂x without the part through y; dy += ∂L/∂y.
  void backward_after_attention(const Context& ctx, const SublayerStash& stash, Tensor y_TD,
                                Tensor dy_TD, Tensor d_TD, std::int64_t k) const;

 private:
  Gain gain(const Context& ctx, std::int64_t k) const;
  void ffn_backward(const Context& ctx, const SublayerStash& stash, Tensor d_TD,
                    std::int64_t k) const;
  void attention_backward(const Context& ctx, const SublayerStash& stash, Tensor x_TD, Tensor d_TD,
                          std::int64_t k) const;

  Attention attention_;
  Ffn ffn_;
  Parameter gain_;
};

}  // namespace dualpath
