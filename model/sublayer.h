// Φ(x; s): u = x + s·Attn(RMSNorm(x)); Φ = u + s·FFN(RMSNorm(u)) — one application of one path's
// weights (arXiv 2605.30202). The deep loop applies it K times through forward() and backward(); a
// wide or standard layer once, in the pieces that model/wide_path.h puts together.
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
  Cut ffn_cut = Cut::whole;
};

class Sublayer {
 public:
  // Declares attention, FFN and gain under PREFIX; with `shared`, that attention is used instead.
  Sublayer(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
           const SublayerShape& shape, const Attention* shared);

  // with_attention: false for an application that uses a shared attention. ffn_tokens: those that
  // go through the FFN.
  SublayerStash allocate_stash(const Context& ctx, Arena& arena, bool with_attention,
                               std::int64_t ffn_tokens) const;

  // out = Φ(x; s_k); an empty `out` stops when the stash is filled. k counts from 0. A shared
  // attention's output is given as shared_y.
  void forward(const Context& ctx, SublayerStash& stash, Tensor x_TD, Tensor shared_y_TD,
               Tensor out_TD, std::int64_t k) const;
  // In place: d = ∂L/∂out becomes ∂L/∂x. Parameter gradients +=. Consumes the stash.
  void backward(const Context& ctx, const SublayerStash& stash, Tensor x_TD, Tensor d_TD,
                std::int64_t k) const;
  // The same where the attention output y is shared: d = ∂L/∂x without the part through y;
  // dy += ∂L/∂y.
  void backward_shared(const Context& ctx, const SublayerStash& stash, Tensor y_TD, Tensor dy_TD,
                       Tensor d_TD, std::int64_t k) const;

  // ---- the pieces
  Gain gain(const Context& ctx, std::int64_t k) const;
  const Ffn& ffn() const { return ffn_; }
  AttentionStash allocate_attention_stash(const Context& ctx, Arena& arena) const {
    return attention_.allocate_stash(ctx, arena);
  }
  // y = Attn(RMSNorm(x)); y is operand.
  void attend(const Context& ctx, AttentionStash& stash, Tensor x_TD, Tensor y_TD,
              std::int64_t k) const;
  // In place: d = ∂L/∂u becomes ∂L/∂x.
  void attention_backward(const Context& ctx, const AttentionStash& stash, Tensor x_TD, Tensor d_TD,
                          std::int64_t k) const;
  // dy += ∂L/∂y, given d = ∂L/∂u; d, the path to x, stays.
  void shared_attention_backward(const Context& ctx, Tensor y_TD, Tensor dy_TD, Tensor d_TD,
                                 std::int64_t k) const;

 private:
  void ffn_backward(const Context& ctx, const SublayerStash& stash, Tensor d_TD,
                    std::int64_t k) const;

  Attention attention_;
  Ffn ffn_;
  Parameter gain_;
};

}  // namespace dualpath
