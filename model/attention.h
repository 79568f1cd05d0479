// Causal self-attention of one path: fused q/k/v projection, RoPE, per-head norm, attention, output
// projection. It maps normalised input to projected output; norm, gain and residual are the
// caller's (model/sublayer.h).
#pragma once

#include <string>

#include "model/config.h"
#include "model/context.h"
#include "model/gain.h"
#include "model/norm.h"

namespace dualpath {

// What the backward pass needs besides the normalised input.
struct AttentionStash {
  Tensor qkv_TC;
  Tensor qk_rstd_TN;   // empty without qk norm
  Tensor attended_TA;  // A = H·E
  Tensor log_sum_TH;
};

class Attention {
 public:
  // Declares the parameters under "PREFIX.query" and so on. output_std: of the output projection's
  // initial values. num_norms: see Norm.
  Attention(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
            double output_std, std::int64_t num_norms);

  AttentionStash allocate_stash(const Context& ctx, Arena& arena) const;
  // y = Attn(normed); fills the stash.
  void forward(const Context& ctx, AttentionStash& stash, Tensor normed_TD, Tensor y_TD) const;
  // dnormed = ∂L/∂normed given dy = ∂L/∂y; parameter gradients +=, and the gradient of the gain
  // that scales y, if there is one.
  void backward(const Context& ctx, const AttentionStash& stash, Tensor dnormed_TD, Tensor dy_TD,
                Tensor normed_TD, const Gain& gain) const;

  const Norm& norm() const { return norm_; }  // of this attention's input

 private:
  struct RotatedQk {
    Tensor q_THE;
    Tensor k_TGE;
  };
  // q in new scratch, k in `k_TGE`.
  RotatedQk rotate(const Context& ctx, const AttentionStash& stash, Tensor k_TGE) const;
  void attend(const Context& ctx, const AttentionStash& stash) const;
  void attend_to_cache(const Context& ctx, const AttentionStash& stash) const;
  void attend_to_segments(const Context& ctx, const AttentionStash& stash) const;

  Norm norm_;
  Parameter query_;  // followed by key and value: one fused matrix
  Parameter query_norm_;
  Parameter key_norm_;
  Parameter output_;
  QkNorm qk_norm_;
  double epsilon_;
};

}  // namespace dualpath
