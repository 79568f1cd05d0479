#include "model/model_layout.h"

namespace dualpath {

namespace {

Tensor take(Arena& arena, DType dtype, Shape shape) {
  return arena.allocate(dtype, shape, "constants");
}

std::vector<StageLayers> stages_of(const ModelConfig& config, const ModelPart& part) {
  if (!part.stages.empty()) return part.stages;
  return {{.begin = 0, .end = config.layers, .first = true, .last = true}};
}

}  // namespace

ModelTensors lay_out_tensors(const ResolvedModelConfig& config, const ModelOptions& options,
                             Arena& arena) {
  const std::int64_t tokens = options.micro_batch_size * config.sequence_length;
  const Shape table{config.sequence_length, config.head_size() / 2};
  ModelTensors t;
  t.rope.cos_PR = take(arena, options.types.master, table);
  t.rope.sin_PR = take(arena, options.types.master, table);
  t.tokens = take(arena, DType::i32, {2 * tokens});
  t.loss_T = take(arena, options.types.master, {tokens});
  t.sums = take(arena, DType::f64, {StepSums::first_readout + config.layers * num_readouts});
  if (options.training) {
    t.message_buffers = take(arena, options.types.stream,
                             {options.part.message_buffers, tokens, config.hidden_size});
  }
  return t;
}

std::deque<Stage> make_stages(const ResolvedModelConfig& config, const ModelOptions& options,
                              ParameterStore& parameters) {
  std::deque<Stage> stages;
  for (const StageLayers& layers : stages_of(config, options.part)) {
    stages.emplace_back(config, parameters, layers, options.part.vocabulary, options.recompute,
                        options.loss_chunk_tokens);
    if (options.forced_iterations > 0) stages.back().force_iterations(options.forced_iterations);
  }
  parameters.seal();
  return stages;
}

StoreOptions store_options(const ModelOptions& options) {
  return {.types = options.types,
          .gradients = options.training,
          .sharded_masters = options.part.sharded_masters};
}

AttentionShape attention_shape(const ModelConfig& config, std::int64_t sequences,
                               std::int64_t positions) {
  return {sequences, positions, config.attention_heads, config.kv_heads, config.head_size()};
}

void infer_with_loss(Stage& stage, const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor ids_T,
                     Tensor targets_T) {
  stage.infer(ctx, ids_T, x_TD);
  if (stage.is_last()) stage.head().loss(ctx, loss_T, x_TD, targets_T);
}

PassCosts issue_training_passes(Stage& stage, const Context& ctx, const ModelTensors& tensors,
                                Tensor x_TD, const std::function<double()>& spent) {
  const RegularizerScales all_on{
      .ponder = 1, .entropy = 1, .balance = 1, .gate_losses = tensors.gate_losses()};
  const Tensor ids_T = tensors.ids();
  StageStash layers;
  const double before = spent();
  const Tensor out_TD = stage.forward(ctx, layers, ids_T, x_TD, nullptr);
  const double forward = spent();
  if (stage.is_last()) {
    stage.head().loss_and_gradient(ctx, tensors.loss_T, x_TD, out_TD, ids_T, 1);
    ctx.ops.run(op::ColumnSums{.out_C = tensors.token_losses(), .in_TC = tensors.loss_T});
  }
  stage.backward(ctx, layers, ids_T, x_TD, all_on, nullptr);
  const double backward = spent();
  if (ctx.deferred != nullptr) stage.backward_weights(ctx, nullptr);
  return {forward - before, backward - forward, spent() - backward};
}

}  // namespace dualpath
