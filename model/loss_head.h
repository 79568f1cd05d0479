// Final norm, head and cross-entropy. Logits exist only for a chunk of tokens at a time: with the
// chunk's logits go its loss, its gradient and its part of the head's weight gradient.
#pragma once

#include "model/norm.h"

namespace dualpath {

class LossHead {
 public:
  // weight: [V, D], the head's own or the tied embedding's.
  LossHead(Norm norm, Parameter weight, std::int64_t chunk_tokens)
      : norm_(norm), weight_(weight), chunk_tokens_(chunk_tokens) {}

  // loss_T = cross-entropy of each token (0 where the target is -1)
  void loss(const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor targets_T) const;
  // The same, and dx = ∂(grad_scale·Σ loss)/∂x; parameter gradients +=.
  void loss_and_gradient(const Context& ctx, Tensor loss_T, Tensor dx_TD, Tensor x_TD,
                         Tensor targets_T, double grad_scale) const;
  // logits = head(norm(x)) of some rows
  void logits(const Context& ctx, Tensor logits_TV, Tensor x_TD) const;

 private:
  template <class Chunk>
  void for_each_chunk(const Context& ctx, Tensor normed_TD, Chunk chunk) const;

  Norm norm_;
  Parameter weight_;
  std::int64_t chunk_tokens_;
};

}  // namespace dualpath
