#include "model/stage.h"

#include <cmath>
#include <utility>

namespace dualpath {

namespace {

// Initial deviation of attention output and FFN down projections: init_std/√(2n), so that the sum
// of 2n residual branches keeps its size. n: layers, or all executed sublayers.
double output_std(const ModelConfig& config) {
  std::int64_t n = config.layers;
  if (config.init_scheme == InitScheme::executed) {
    n = 0;
    for (std::int64_t i = 0; i < config.layers; ++i) {
      const Architecture a = config.architecture_of(i);
      if (a == Architecture::looped || a == Architecture::dual_path) n += config.deep.iterations;
      if (a != Architecture::looped) n += 1;
    }
  }
  return config.init_std / std::sqrt(2.0 * static_cast<double>(n));
}

// The embedding; where it is tied, the last stage has it too, as the head's weight.
Parameter declare_embedding(ParameterStore& store, const ModelConfig& config, Cut cut,
                            bool on_both_ends) {
  return store.declare({.name = "embedding",
                        .shape = {config.vocab_size, config.hidden_size},
                        .init = {ParameterInit::Law::normal, config.init_std},
                        .decay = false,
                        .product = config.tied_embeddings,
                        .cut = cut,
                        .on_both_ends = on_both_ends,
                        .looked_up = true});
}

Parameter declare_head(ParameterStore& store, const ModelConfig& config, Cut cut) {
  return store.declare({.name = "head",
                        .shape = {config.vocab_size, config.hidden_size},
                        .init = {ParameterInit::Law::normal, config.init_std},
                        .decay = true,
                        .product = true,
                        .cut = cut});
}

}  // namespace

Stage::Stage(const ResolvedModelConfig& config, ParameterStore& store, const StageLayers& layers,
             Cut vocabulary, Recompute recompute, std::int64_t chunk_tokens)
    : width_(config.hidden_size), layers_of_(layers), recompute_(recompute) {
  const auto next_bucket = [&] {
    store.begin_bucket();
    return store.num_buckets() - 1;
  };
  const bool tied_apart = config.tied_embeddings && layers.first != layers.last;
  Parameter embedding;
  if (layers.first) {
    embedding_bucket_ = next_bucket();
    embedding = declare_embedding(store, config, vocabulary, tied_apart);
    embedding_.emplace(embedding);
  }
  first_layer_bucket_ = store.num_buckets();
  for (std::int64_t i = layers.begin; i < layers.end; ++i) {
    next_bucket();
    layers_.emplace_back(store, config, i, output_std(config));
  }
  passing_.layers.resize(layers_.size());
  if (!layers.last) return;
  head_bucket_ = next_bucket();
  const Norm norm(store, "final_norm", config.hidden_size, 1, config.norm_epsilon);
  const Parameter weight = !config.tied_embeddings ? declare_head(store, config, vocabulary)
                           : layers.first          ? embedding
                                          : declare_embedding(store, config, vocabulary, true);
  head_.emplace(norm, weight, chunk_tokens);
}

Tensor Stage::forward(const Context& ctx, StageStash& stash, Tensor ids_T, Tensor input_TD,
                      BucketEvents* events) const {
  const auto before = [&](int bucket) {
    if (events != nullptr) events->before_forward(bucket);
  };
  const auto allocate_x = [&] {
    return ctx.stash.allocate(ctx.types().stream, {ctx.tokens(), width_}, "residual stream");
  };
  stash.layers.resize(layers_.size());
  Tensor x_TD = allocate_x();
  before(0);
  if (is_first()) {
    before(embedding_bucket_);
    embedding_->forward(ctx, x_TD, ids_T);
  } else {
    ctx.ops.run(op::Copy{.out = x_TD, .in = input_TD});
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    before(first_layer_bucket_ + static_cast<int>(i));
    stash.layers[i].x_TD = x_TD;
    x_TD = allocate_x();
    layers_[i].forward(ctx, stash.layers[i], x_TD, recompute_);
  }
  if (is_last()) before(head_bucket_);
  return x_TD;
}

void Stage::backward(const Context& ctx, StageStash& stash, Tensor ids_T, Tensor d_TD,
                     const RegularizerScales& regularizers, BucketEvents* events) {
  if (is_last() && events != nullptr) events->after_backward(head_bucket_);
  for (std::size_t i = layers_.size(); i-- > 0;) {
    layers_[i].backward(ctx, stash.layers[i], rebuilt_, d_TD, regularizers, recompute_);
    if (events != nullptr && ctx.deferred == nullptr)
      events->after_backward(first_layer_bucket_ + static_cast<int>(i));
  }
  if (!is_first()) return;
  embedding_->backward(ctx, ids_T, d_TD);
  if (events != nullptr) events->after_backward(embedding_bucket_);
}

void Stage::backward_weights(const Context& ctx, BucketEvents* events) const {
  std::size_t next = 0;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    if (layers_[i].has_wide_path()) layers_[i].backward_weights(ctx, ctx.deferred->inputs[next++]);
    if (events != nullptr) events->after_backward(first_layer_bucket_ + static_cast<int>(i));
  }
}

void Stage::infer(const Context& ctx, Tensor ids_T, Tensor x_TD) {
  const ArenaFrame frame(ctx.scratch);
  Tensor in_TD = x_TD;
  Tensor out_TD = ctx.scratch.allocate(ctx.types().stream, x_TD.shape, "residual stream");
  if (is_first()) embedding_->forward(ctx, in_TD, ids_T);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    passing_.layers[i].x_TD = in_TD;
    layers_[i].forward(ctx, passing_.layers[i], out_TD, Recompute::layer);
    std::swap(in_TD, out_TD);
  }
  if (in_TD.data != x_TD.data) ctx.ops.run(op::Copy{.out = x_TD, .in = in_TD});
}

}  // namespace dualpath
