// Final norm, head and cross-entropy. Logits exist only for a chunk of tokens at a time: with the
// chunk's logits go its loss, its gradient and its part of the head's weight gradient.
//
// Where the weight is cut over the ranks of the tensor axis, each makes its rows' logits for the
// tokens S of all ranks, chunk by chunk in step with the others:
//
//   n = RMSNorm(x)                     this rank's tokens        all-gather of n and targets
//   statistics of n·Wᵀ                 all tokens, own rows      all-gather of the statistics
//   loss, dlogits, dW, dn = dlogits·W  all tokens, own rows      reduce-scatter of dn
#pragma once

#include "model/norm.h"
#include "model/vocabulary.h"

namespace dualpath {

class LossHead {
 public:
  // weight: [V, D], the head's own or the tied embedding's.
  LossHead(Norm norm, Parameter weight, std::int64_t chunk_tokens)
      : norm_(norm), weight_(weight), chunk_tokens_(chunk_tokens) {}

  // loss_T = cross-entropy of each token (0 where the target is -1)
  void loss(const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor targets_T) const;
  // The same, and dx = ∂(grad_scale·Σ loss)/∂x; parameter gradients +=. grad_scale is the same on
  // all ranks of the tensor axis.
  void loss_and_gradient(const Context& ctx, Tensor loss_T, Tensor dx_TD, Tensor x_TD,
                         Tensor targets_T, double grad_scale) const;
  // statistics_RS3[r] = op::VocabularyStatistics of the logits of rank r's part of the vocabulary,
  // R parts, for the tokens S of all ranks of the tensor axis, this rank's x among them. Where the
  // vocabulary is whole here, R = 1 and the tokens are x's.
  void statistics(const Context& ctx, Tensor statistics_RS3, Tensor x_TD, Tensor targets_T) const;
  // logits = head(norm(x)) of some rows. REQUIRES: the weight is whole here.
  void logits(const Context& ctx, Tensor logits_TV, Tensor x_TD) const;

 private:
  // The tokens whose logits this rank makes: its own, or those of all ranks.
  struct Tokens {
    Tensor rstd_T;  // of its own
    Tensor normed_SD;
    Tensor targets_S;
    Tensor loss_S;
  };
  Tokens gather(const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor targets_T) const;
  template <class Chunk>
  void for_each_chunk(const Context& ctx, Tensor normed_SD, Chunk chunk) const;
  void cross_entropy(const Context& ctx, Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                     Tensor targets_T, double grad_scale) const;

  Norm norm_;
  VocabularyMatrix weight_;
  std::int64_t chunk_tokens_;
};

}  // namespace dualpath
