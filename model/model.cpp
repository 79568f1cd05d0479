#include "model/model.h"

#include <algorithm>
#include <cmath>

#include "core/dry_ops.h"

namespace dualpath {

namespace {

AttentionShape attention_shape(const ModelConfig& config, std::int64_t sequences,
                               std::int64_t positions) {
  return {sequences, positions, config.attention_heads, config.kv_heads, config.head_size()};
}

Tensor take(Arena& arena, DType dtype, Shape shape) {
  return arena.allocate(dtype, shape, "constants");
}

struct Constants {
  RopeTables rope;
  Tensor tokens;
  Tensor loss_T;
  Tensor sums;
};

Constants lay_out_constants(const ModelConfig& config, const ModelOptions& options, Arena& arena) {
  const std::int64_t tokens = options.micro_batch_size * config.sequence_length;
  const Shape table{config.sequence_length, config.head_size() / 2};
  Constants c;
  c.rope.cos_PR = take(arena, options.types.master, table);
  c.rope.sin_PR = take(arena, options.types.master, table);
  c.tokens = take(arena, DType::i32, {2 * tokens});
  c.loss_T = take(arena, options.types.master, {tokens});
  c.sums = take(arena, DType::f64, {StepSums::first_readout + config.layers * num_readouts});
  return c;
}

// Angle of position p and pair i: p·θ^(-2i/E)   (arXiv 2104.09864)
template <class T>
void fill_rope(const ModelConfig& config, const RopeTables& rope, Device& device, Stream& stream) {
  const std::int64_t half = config.head_size() / 2;
  std::vector<T> cosines, sines;
  for (std::int64_t p = 0; p < config.sequence_length; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double exponent = -static_cast<double>(i) / static_cast<double>(half);
      const double angle = static_cast<double>(p) * std::pow(config.rope_theta, exponent);
      cosines.push_back(static_cast<T>(std::cos(angle)));
      sines.push_back(static_cast<T>(std::sin(angle)));
    }
  }
  device.copy_to_device(rope.cos_PR, cosines.data(), stream);
  device.copy_to_device(rope.sin_PR, sines.data(), stream);
  stream.synchronize();
}

// The passes themselves, shared by the dry run and the real one.
void training_pass(Stage& stage, const Context& ctx, Tensor ids_T, Tensor targets_T, Tensor loss_T,
                   double loss_scale, const RegularizerScales& regularizers) {
  const ArenaFrame stash_frame(ctx.stash);
  const ArenaFrame frame(ctx.scratch);
  const Tensor x_TD = stage.forward(ctx, ids_T);
  const Tensor d_TD = ctx.scratch.allocate(x_TD.dtype, x_TD.shape, "residual stream");
  stage.head().loss_and_gradient(ctx, loss_T, d_TD, x_TD, targets_T, loss_scale);
  stage.backward(ctx, ids_T, d_TD, regularizers);
}

void evaluation_pass(Stage& stage, const Context& ctx, Tensor ids_T, Tensor targets_T,
                     Tensor loss_T) {
  const ArenaFrame frame(ctx.scratch);
  const Tensor x_TD =
      ctx.scratch.allocate(ctx.types().stream, {ctx.tokens(), stage.width()}, "residual stream");
  stage.infer(ctx, ids_T, x_TD);
  stage.head().loss(ctx, loss_T, x_TD, targets_T);
}

}  // namespace

ActivationMemory measure_activations(const ModelConfig& config, const ModelOptions& options) {
  ParameterStore parameters;
  parameters.set_types(options.types);
  Stage stage(config, parameters, options.recompute, options.loss_chunk_tokens);
  DryOps ops;
  Arena stash, scratch, constants_arena;
  const Constants constants = lay_out_constants(config, options, constants_arena);
  const Context ctx{ops,
                    parameters,
                    stash,
                    scratch,
                    constants.rope,
                    attention_shape(config, options.micro_batch_size, config.sequence_length),
                    constants.sums.slice(StepSums::first_readout, constants.sums.numel())
                        .reshape({config.layers, num_readouts})};
  const Tensor ids_T = constants.tokens.slice(0, ctx.tokens());
  ActivationMemory memory;
  if (options.training) {
    training_pass(stage, ctx, ids_T, ids_T, constants.loss_T, 1,
                  {.ponder = 1, .entropy = 1, .balance = 1, .gate_losses = constants.loss_T});
    memory.matmul_flops = ops.matmul_flops();
  }
  evaluation_pass(stage, ctx, ids_T, ids_T, constants.loss_T);
  memory.stash_bytes = stash.peak_bytes();
  memory.scratch_bytes = scratch.peak_bytes();
  memory.stash = stash.peak_by_category();
  memory.scratch = scratch.peak_by_category();
  return memory;
}

Model::Model(const ModelConfig& config, const ModelOptions& options, Device& device, Stream& stream)
    : config_(config),
      options_(options),
      device_(device),
      stream_(stream),
      ops_(device.make_ops(stream)),
      parameters_(std::make_unique<ParameterStore>()),
      stage_(std::make_unique<Stage>(config, *parameters_, options.recompute,
                                     options.loss_chunk_tokens)),
      memory_(measure_activations(config, options)) {
  device.require(options.types);
  parameters_->allocate(device, options.types, options.training);
  stash_ = Arena(device.allocate(memory_.stash_bytes));
  scratch_ = Arena(device.allocate(memory_.scratch_bytes));
  Arena measuring;
  lay_out_constants(config, options, measuring);
  Arena constants(device.allocate(measuring.peak_bytes()));
  const Constants c = lay_out_constants(config, options, constants);
  constants_ = std::move(constants).take_backing();
  rope_ = c.rope;
  tokens_ = c.tokens;
  loss_T_ = c.loss_T;
  sums_ = c.sums;
  if (options.types.master == DType::f64) {
    fill_rope<double>(config, rope_, device, stream);
  } else {
    fill_rope<float>(config, rope_, device, stream);
  }
  zero_sums();
}

Context Model::context(AttentionShape shape, bool readouts) {
  Tensor sums_LC;
  if (readouts) {
    sums_LC =
        sums_.slice(StepSums::first_readout, sums_.numel()).reshape({config_.layers, num_readouts});
  }
  return {*ops_, *parameters_, stash_, scratch_, rope_, shape, sums_LC};
}

Tensor Model::upload(std::span<const std::int32_t> host, std::int64_t begin) {
  const Tensor device_tokens = tokens_.slice(begin, begin + static_cast<std::int64_t>(host.size()));
  device_.copy_to_device(device_tokens, host.data(), stream_);
  return device_tokens;
}

void Model::zero_gradients() {
  ops_->fill(parameters_->flat_gradients(), 0);
}

void Model::forward_backward(std::span<const std::int32_t> ids,
                             std::span<const std::int32_t> targets, double loss_scale,
                             RegularizerScales regularizers, bool readouts) {
  const Context ctx = context(
      attention_shape(config_, options_.micro_batch_size, config_.sequence_length), readouts);
  CHECK(static_cast<std::int64_t>(ids.size()) == ctx.tokens() && ids.size() == targets.size(),
        "a micro-batch has {} tokens, not {}", ctx.tokens(), ids.size());
  regularizers.gate_losses = sums_.slice(StepSums::gate_entropy, StepSums::gate_balance + 1);
  training_pass(*stage_, ctx, upload(ids, 0), upload(targets, ctx.tokens()), loss_T_, loss_scale,
                regularizers);
  ops_->column_sums(sums_.slice(StepSums::loss, StepSums::loss + 1), loss_T_);
}

void Model::evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                     bool readouts) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  CHECK(tokens % config_.sequence_length == 0 && tokens <= loss_T_.numel(),
        "{} tokens are not up to {} sequences of {}", tokens, options_.micro_batch_size,
        config_.sequence_length);
  const Context ctx =
      context(attention_shape(config_, tokens / config_.sequence_length, config_.sequence_length),
              readouts);
  const Tensor loss_T = loss_T_.slice(0, tokens);
  evaluation_pass(*stage_, ctx, upload(ids, 0), upload(targets, tokens), loss_T);
  ops_->column_sums(sums_.slice(StepSums::loss, StepSums::loss + 1), loss_T);
}

KvCache Model::make_cache(std::int64_t capacity) const {
  CHECK(0 < capacity && capacity <= config_.sequence_length,
        "a cache of {} tokens, the model takes 1 to {}", capacity, config_.sequence_length);
  std::int64_t entries = 0;
  for (const Layer& layer : stage_->layers()) entries += layer.num_attentions();
  return {entries, capacity, config_.kv_heads, config_.head_size(), parameters_->types().operand,
          device_};
}

Tensor Model::logits(std::span<const std::int32_t> ids, bool last_only, KvCache* cache) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t past = cache == nullptr ? 0 : cache->length();
  const std::int64_t room = (cache == nullptr ? config_.sequence_length : cache->capacity()) - past;
  CHECK(0 < tokens && tokens <= room, "{} tokens, the model takes 1 to {}", tokens, room);
  Context ctx = context(attention_shape(config_, 1, tokens), false);
  ctx.shape.first_position = past;
  ctx.cache = cache;
  const std::int64_t rows = last_only ? 1 : tokens;
  const std::size_t bytes =
      static_cast<std::size_t>(rows * config_.vocab_size) * size_of(ctx.types().master);
  if (logits_.bytes() < bytes) logits_ = device_.allocate(bytes);
  const Tensor logits_TV{logits_.data(), ctx.types().master, {rows, config_.vocab_size}};
  const ArenaFrame frame(scratch_);
  const Tensor x_TD =
      scratch_.allocate(ctx.types().stream, {tokens, config_.hidden_size}, "residual stream");
  if (cache != nullptr) cache->begin_pass();
  stage_->infer(ctx, upload(ids, 0), x_TD);
  if (cache != nullptr) cache->end_pass(tokens);
  stage_->head().logits(ctx, logits_TV, x_TD.slice(tokens - rows, tokens));
  return logits_TV;
}

}  // namespace dualpath
