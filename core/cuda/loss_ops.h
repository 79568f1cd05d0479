// Cross-entropy, whole and sharded: the launches of loss_kernels.h.
#pragma once

#include "core/cuda/launching_ops.h"
#include "core/cuda/loss_kernels.h"

namespace dualpath::gpu {

template <class Base>
class LossOps : public Base {
 public:
  using Base::Base;

  void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                     double grad_scale) override {
    check_cross_entropy(loss_T, dlogits_TV, logits_TV, targets_T);
    with_type(dlogits_TV.empty() ? logits_TV : dlogits_TV, [&]<class O>() {
      this->launch(logits_TV.rows(), block_threads, 0,
                   CrossEntropy<O>{loss_T.as<float>(), optional<O>(dlogits_TV),
                                   logits_TV.as<float>(), targets_T.as<std::int32_t>(),
                                   logits_TV.cols(), static_cast<float>(grad_scale)});
    });
  }
  void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                             VocabularyRows rows) override {
    check_vocabulary_statistics(stats_T3, logits_TV, targets_T, rows);
    this->launch(logits_TV.rows(), block_threads, 0,
                 VocabularyStatistics{stats_T3.as<float>(), logits_TV.as<float>(),
                                      targets_T.as<std::int32_t>(), logits_TV.cols(), rows});
  }
  void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor stats_RT3,
                             Tensor targets_T, VocabularyRows rows, double grad_scale) override {
    check_sharded_cross_entropy(loss_T, dlogits_TV, logits_TV, stats_RT3, targets_T, rows);
    with_type(dlogits_TV.empty() ? logits_TV : dlogits_TV, [&]<class O>() {
      this->launch(logits_TV.rows(), block_threads, 0,
                   ShardedCrossEntropy<O>{
                       loss_T.as<float>(), optional<O>(dlogits_TV), logits_TV.as<float>(),
                       stats_RT3.as<float>(), targets_T.as<std::int32_t>(), logits_TV.rows(),
                       logits_TV.cols(), stats_RT3.shape[0], rows, static_cast<float>(grad_scale)});
    });
  }
};

}  // namespace dualpath::gpu
