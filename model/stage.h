// Stage: the layers that one rank holds, with the embedding before and the loss head behind them.
// Its functions are one micro-batch's forward and backward pass; batches, steps and memory are the
// caller's (model/model.h).
#pragma once

#include <vector>

#include "model/layer.h"
#include "model/loss_head.h"

namespace dualpath {

class Stage {
 public:
  // Declares all parameters of the model in `store`. REQUIRES: resolve(config) was applied.
  // chunk_tokens: how many tokens' logits exist at once.
  Stage(const ModelConfig& config, ParameterStore& store, Recompute recompute,
        std::int64_t chunk_tokens);

  // Runs embedding and layers, keeps in ctx.stash what backward() needs, and returns the last
  // layer's output [T, D], which lies there too.
  Tensor forward(const Context& ctx, Tensor ids_T);
  // d = ∂L/∂(forward's output) on entry; consumed. Parameter gradients +=.
  void backward(const Context& ctx, Tensor ids_T, Tensor d_TD,
                const RegularizerScales& regularizers);

  // out = the last layer's output, with nothing kept.
  void infer(const Context& ctx, Tensor ids_T, Tensor out_TD);

  const LossHead& head() const { return head_; }
  const std::vector<Layer>& layers() const { return layers_; }
  std::int64_t width() const { return width_; }

 private:
  std::int64_t width_;
  Recompute recompute_;
  Parameter embedding_;
  std::vector<Layer> layers_;
  LossHead head_;
  // One for each layer, reused from step to step, so that a step allocates nothing.
  std::vector<LayerStash> stashes_;
  LayerStash rebuilt_;
};

}  // namespace dualpath
