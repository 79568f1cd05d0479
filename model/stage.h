// Stage: consecutive layers of the model that one pipeline rank holds, on the first stage with the
// embedding before them, on the last with the loss head behind them. (With virtual stages a rank
// has several.) Its functions are one micro-batch's forward and backward pass; batches, steps and
// memory are the caller's (model/model.h).
#pragma once

#include <optional>
#include <vector>

#include "model/layer.h"
#include "model/loss_head.h"

namespace dualpath {

// Which of the model's layers a stage has.
struct StageLayers {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool first = true;  // with the embedding
  bool last = true;   // with the head
};

// A call back to whoever gathers values and reduces gradients, bucket by bucket.
class BucketEvents {
 public:
  virtual ~BucketEvents() = default;
  // The values of this bucket's parameters are about to be read.
  virtual void before_forward(int bucket) = 0;
  // This bucket's gradients are complete for this pass.
  virtual void after_backward(int bucket) = 0;
};

// What a stage keeps of one micro-batch between its forward and its backward pass.
struct StageStash {
  std::vector<LayerStash> layers;
};

class Stage {
 public:
  // Declares the parameters of these layers in `store`.
  // vocabulary: the cut of embedding and head. chunk_tokens: how many tokens' logits exist at once.
  Stage(const ResolvedModelConfig& config, ParameterStore& store, const StageLayers& layers,
        Cut vocabulary, Recompute recompute, std::int64_t chunk_tokens);

  // Runs the layers on the input, on the first stage on the embedding of ids instead; keeps in
  // ctx.stash what backward() needs, a copy of it included, and returns the last layer's output [T,
  // D], which lies there too. `events` may be null.
  Tensor forward(const Context& ctx, StageStash& stash, Tensor ids_T, Tensor input_TD,
                 BucketEvents* events) const;
  // d = ∂L/∂(forward's output) on entry, on the last stage as head().loss_and_gradient() has left
  // it; ∂L/∂(forward's input) on return, but on the first stage.
  // Parameter gradients +=, but for those that are left in ctx.deferred.
  void backward(const Context& ctx, StageStash& stash, Tensor ids_T, Tensor d_TD,
                const RegularizerScales& regularizers, BucketEvents* events);
  // What backward() left in ctx.deferred.
  void backward_weights(const Context& ctx, BucketEvents* events) const;

  // In place: the stage's input x (on the first stage: whatever it holds) becomes its output, with
  // nothing kept.
  void infer(const Context& ctx, Tensor ids_T, Tensor x_TD);
  // DeepPath::force_iterations() of all layers.
  void force_iterations(std::int64_t iterations) {
    for (Layer& layer : layers_) layer.force_iterations(iterations);
  }
  bool is_first() const { return layers_of_.first; }
  bool is_last() const { return layers_of_.last; }
  const LossHead& head() const { return *head_; }  // REQUIRES: is_last()
  const std::vector<Layer>& layers() const { return layers_; }

 private:
  std::int64_t width_;
  StageLayers layers_of_;
  Recompute recompute_;
  std::optional<Embedding> embedding_;
  int embedding_bucket_ = 0;
  std::vector<Layer> layers_;
  int first_layer_bucket_ = 0;  // the others' follow
  std::optional<LossHead> head_;
  int head_bucket_ = 0;
  StageStash passing_;  // of infer(); reused, so that a pass allocates nothing
  LayerStash rebuilt_;
};

}  // namespace dualpath
