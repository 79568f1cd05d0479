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

Parameter declare_embedding(ParameterStore& store, const ModelConfig& config) {
  return store.declare({"embedding",
                        {config.vocab_size, config.hidden_size},
                        {ParameterInit::Law::normal, config.init_std},
                        false,
                        config.tied_embeddings});
}

std::vector<Layer> make_layers(ParameterStore& store, const ModelConfig& config) {
  std::vector<Layer> layers;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    layers.emplace_back(store, config, i, output_std(config));
  }
  return layers;
}

LossHead make_head(ParameterStore& store, const ModelConfig& config, Parameter embedding,
                   std::int64_t chunk_tokens) {
  const Norm norm(store, "final_norm", config.hidden_size, 1, config.norm_epsilon);
  if (config.tied_embeddings) return {norm, embedding, chunk_tokens};
  const Parameter weight = store.declare({"head",
                                          {config.vocab_size, config.hidden_size},
                                          {ParameterInit::Law::normal, config.init_std},
                                          true,
                                          true});
  return {norm, weight, chunk_tokens};
}

}  // namespace

Stage::Stage(const ModelConfig& config, ParameterStore& store, Recompute recompute,
             std::int64_t chunk_tokens)
    : width_(config.hidden_size),
      recompute_(recompute),
      embedding_(declare_embedding(store, config)),
      layers_(make_layers(store, config)),
      head_(make_head(store, config, embedding_, chunk_tokens)),
      stashes_(layers_.size()) {}

Tensor Stage::forward(const Context& ctx, Tensor ids_T) {
  const auto allocate_x = [&] {
    return ctx.stash.allocate(ctx.types().stream, {ctx.tokens(), width_}, "residual stream");
  };
  Tensor x_TD = allocate_x();
  const Tensor table_VD = ctx.parameters.value(embedding_);
  ctx.ops.embedding(x_TD, ids_T, table_VD, VocabularyRows::all_of(table_VD));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    stashes_[i].x_TD = x_TD;
    x_TD = allocate_x();
    layers_[i].forward(ctx, stashes_[i], x_TD, recompute_);
  }
  return x_TD;
}

void Stage::backward(const Context& ctx, Tensor ids_T, Tensor d_TD,
                     const RegularizerScales& regularizers) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    layers_[i].backward(ctx, stashes_[i], rebuilt_, d_TD, regularizers, recompute_);
  }
  const Tensor grad_VD = ctx.parameters.gradient(embedding_);
  ctx.ops.embedding_backward(grad_VD, ids_T, d_TD, VocabularyRows::all_of(grad_VD));
}

void Stage::infer(const Context& ctx, Tensor ids_T, Tensor out_TD) {
  const ArenaFrame frame(ctx.scratch);
  Tensor x_TD = ctx.scratch.allocate(ctx.types().stream, {ctx.tokens(), width_}, "residual stream");
  Tensor y_TD = ctx.scratch.allocate(ctx.types().stream, {ctx.tokens(), width_}, "residual stream");
  const Tensor table_VD = ctx.parameters.value(embedding_);
  ctx.ops.embedding(x_TD, ids_T, table_VD, VocabularyRows::all_of(table_VD));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    stashes_[i].x_TD = x_TD;
    layers_[i].forward(ctx, stashes_[i], y_TD, Recompute::layer);
    std::swap(x_TD, y_TD);
  }
  ctx.ops.copy(out_TD, x_TD);
}

}  // namespace dualpath
