#include "model/model.h"

#include "model/rope.h"

namespace dualpath {

namespace {

template <class T>
void fill_rope(const ModelConfig& config, const RopeTables& rope, Device& device, Stream& stream) {
  const RopeAngles<T> angles = rope_angles<T>(config);
  device.copy_to_device(rope.cos_PR, angles.cosines.data(), stream);
  device.copy_to_device(rope.sin_PR, angles.sines.data(), stream);
  stream.synchronize();
}

}  // namespace

Model::Model(const ResolvedModelConfig& config, const ModelOptions& options, Device& device,
             Stream& stream, TensorAxis* tensor)
    : config_(config),
      options_(options),
      device_(device),
      stream_(stream),
      tensor_(tensor == nullptr ? alone_ : *tensor),
      ops_(device.make_ops(stream)),
      parameters_(std::make_unique<ParameterStore>(options.part.place)),
      stages_(make_stages(config, options, *parameters_)),
      memory_(measure_activations(config, options)) {
  CHECK(tensor_.size() == options.part.place.shape.tensor, "a tensor axis of {} ranks, not {}",
        tensor_.size(), options.part.place.shape.tensor);
  device.require(options.types);
  parameters_->allocate(device, store_options(options));
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    std::vector<Slot>& slots = slots_.emplace_back();
    for (int n = options.part.slots_of(i); n > 0; --n)
      slots.push_back({Arena(device.allocate(memory_.slot_bytes[i])), {}, {}});
    std::vector<DeferredWeights>& deferred = deferred_.emplace_back();
    for (int n = options.part.deferred_slots_of(i); n > 0; --n)
      deferred.push_back({Arena(device.allocate(memory_.deferred_bytes[i])), {}});
  }
  scratch_ = Arena(device.allocate(memory_.scratch_bytes));
  Arena constants(device.allocate(memory_.constant_bytes));
  tensors_ = lay_out_tensors(config, options, constants);
  constants_ = std::move(constants).take_backing();
  if (options.types.master == DType::f64) {
    fill_rope<double>(config, tensors_.rope, device, stream);
  } else {
    fill_rope<float>(config, tensors_.rope, device, stream);
  }
  zero_sums();
}

std::size_t Model::stash_peak_bytes() const {
  std::size_t bytes = 0;
  for (const std::vector<Slot>& slots : slots_) {
    for (const Slot& slot : slots) bytes += slot.stash.peak_bytes();
  }
  for (const std::vector<DeferredWeights>& deferred : deferred_) {
    for (const DeferredWeights& weights : deferred) bytes += weights.arena.peak_bytes();
  }
  return bytes;
}

Model::Slot& Model::slot_of(const Pass& pass) {
  return slots_[static_cast<std::size_t>(pass.stage)][static_cast<std::size_t>(pass.slot)];
}

Context Model::context(Arena& stash, AttentionShape shape, bool readouts) {
  Context ctx{*ops_,
              *parameters_,
              stash,
              scratch_,
              tensors_.rope,
              shape,
              readouts ? tensors_.readouts() : Tensor{},
              tensor_};
  ctx.tracer = options_.tracer;
  return ctx;
}

// The context of a pass over a whole micro-batch.
Context Model::pass_context(const Pass& pass) {
  Context ctx = context(
      pass.slot < 0 ? no_stash_ : slot_of(pass).stash,
      attention_shape(config_, options_.micro_batch_size, config_.sequence_length), pass.readouts);
  if (pass.deferred_slot >= 0) {
    ctx.deferred = &deferred_[static_cast<std::size_t>(pass.stage)]
                             [static_cast<std::size_t>(pass.deferred_slot)];
  }
  return ctx;
}

Tensor Model::upload(std::span<const std::int32_t> host, std::int64_t begin) {
  const Tensor device_tokens =
      tensors_.tokens.slice(begin, begin + static_cast<std::int64_t>(host.size()));
  device_.copy_to_device(device_tokens, host.data(), stream_);
  return device_tokens;
}

void Model::upload_tokens(const Pass& pass) {
  const auto upload_all = [&](std::span<const std::int32_t> host, std::int64_t begin) {
    CHECK(static_cast<std::int64_t>(host.size()) == tensors_.loss_T.numel(),
          "a micro-batch has {} tokens, not {}", tensors_.loss_T.numel(), host.size());
    upload(host, begin);
  };
  if (stage_of(pass).is_first()) upload_all(pass.ids, 0);
  if (stage_of(pass).is_last()) upload_all(pass.targets, tensors_.loss_T.numel());
}

void Model::zero_gradients() {
  ops_->run(op::Fill{.out = parameters_->flat_gradients(), .value = 0});
}

Tensor Model::forward(const Pass& pass, Tensor x_TD) {
  Slot& slot = slot_of(pass);
  Stage& stage = stage_of(pass);
  CHECK(slot.stash.mark() == 0, "slot {} of stage {} is taken", pass.slot, pass.stage);
  slot.output_TD =
      stage.forward(pass_context(pass), slot.layers, tensors_.ids(), x_TD, pass.events);
  return slot.output_TD;
}

void Model::backward(const Pass& pass, Tensor d_TD) {
  Slot& slot = slot_of(pass);
  Stage& stage = stage_of(pass);
  const Context ctx = pass_context(pass);
  if (stage.is_last()) {
    stage.head().loss_and_gradient(ctx, tensors_.loss_T, d_TD, slot.output_TD, tensors_.targets(),
                                   pass.loss_scale);
    ops_->run(op::ColumnSums{.out_C = tensors_.token_losses(), .in_TC = tensors_.loss_T});
  }
  RegularizerScales regularizers = pass.regularizers;
  regularizers.gate_losses = tensors_.gate_losses();
  stage.backward(ctx, slot.layers, tensors_.ids(), d_TD, regularizers, pass.events);
  slot.stash.release(0);
}

void Model::backward_weights(const Pass& pass) {
  const Context ctx = pass_context(pass);
  stage_of(pass).backward_weights(ctx, pass.events);
  ctx.deferred->clear();
}

void Model::abandon_passes() {
  for (std::vector<Slot>& slots : slots_) {
    for (Slot& slot : slots) slot.stash.release(0);
  }
  for (std::vector<DeferredWeights>& deferred : deferred_) {
    for (DeferredWeights& weights : deferred) weights.clear();
  }
}

void Model::issue_passes(Ops& ops) {
  TensorAxis tensor(tensor_.rank(), tensor_.size());
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    Arena& stash = slots_[i].front().stash;
    DeferredWeights* deferred = deferred_[i].empty() ? nullptr : &deferred_[i].front();
    const Context ctx{ops,
                      *parameters_,
                      stash,
                      scratch_,
                      tensors_.rope,
                      attention_shape(config_, options_.micro_batch_size, config_.sequence_length),
                      tensors_.readouts(),
                      tensor,
                      deferred};
    issue_training_passes(stages_[i], ctx, tensors_, message_buffer(0), [] { return 0.0; });
    stash.release(0);
    if (deferred != nullptr) deferred->clear();
    infer_with_loss(stages_[i], ctx, tensors_.loss_T, message_buffer(0), tensors_.ids(),
                    tensors_.ids());
  }
}

void Model::evaluate_stage(const Pass& pass, Tensor x_TD) {
  Stage& stage = stage_of(pass);
  const std::int64_t tokens = x_TD.rows();
  CHECK(tokens % config_.sequence_length == 0 && tokens <= tensors_.loss_T.numel(),
        "{} tokens are not up to {} sequences of {}", tokens, options_.micro_batch_size,
        config_.sequence_length);
  const Context ctx =
      context(no_stash_,
              attention_shape(config_, tokens / config_.sequence_length, config_.sequence_length),
              pass.readouts);
  const Tensor loss_T = tensors_.loss_T.slice(0, tokens);
  infer_with_loss(stage, ctx, loss_T, x_TD, stage.is_first() ? upload(pass.ids, 0) : Tensor{},
                  stage.is_last() ? upload(pass.targets, tokens) : Tensor{});
  if (stage.is_last()) ops_->run(op::ColumnSums{.out_C = tensors_.token_losses(), .in_TC = loss_T});
}

void Model::score_stage(const ScorePass& pass, Tensor x_TD) {
  Stage& stage = stages_[static_cast<std::size_t>(pass.stage)];
  const std::int64_t rows = x_TD.rows();
  CHECK(rows <= tensors_.loss_T.numel(), "{} rows, there is memory for {}", rows,
        tensors_.loss_T.numel());
  Context ctx = context(no_stash_, attention_shape(config_, 1, rows), false);
  ctx.rope = pass.rope;
  ctx.segments = &pass.segments;
  ctx.gates = pass.gates;
  ctx.token_readouts = pass.token_readouts;
  stage.infer(ctx, stage.is_first() ? upload(pass.ids, 0) : Tensor{}, x_TD);
  if (!stage.is_last() || pass.targets.empty()) return;
  const auto scored = static_cast<std::int64_t>(pass.targets.size());
  ctx.shape.positions = scored;
  stage.head().statistics(ctx, pass.statistics_RS3, x_TD.slice(rows - scored, rows),
                          upload(pass.targets, rows));
}

void Model::score(const ScorePass& pass) {
  const ArenaFrame frame(scratch_);
  const Tensor x_TD = scratch_.allocate(
      parameters_->types().stream,
      {static_cast<std::int64_t>(pass.ids.size()), config_.hidden_size}, "residual stream");
  score_stage(pass, x_TD);
}

void Model::forward_backward(std::span<const std::int32_t> ids,
                             std::span<const std::int32_t> targets, double loss_scale,
                             RegularizerScales regularizers, bool readouts) {
  const Pass pass{.ids = ids,
                  .targets = targets,
                  .loss_scale = loss_scale,
                  .regularizers = regularizers,
                  .readouts = readouts};
  upload_tokens(pass);
  forward(pass, {});
  backward(pass, message_buffer(0));
}

void Model::evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                     bool readouts) {
  const ArenaFrame frame(scratch_);
  const Tensor x_TD = scratch_.allocate(
      parameters_->types().stream, {static_cast<std::int64_t>(ids.size()), config_.hidden_size},
      "residual stream");
  evaluate_stage({.ids = ids, .targets = targets, .readouts = readouts}, x_TD);
}

KvCache Model::make_cache(std::int64_t capacity) const {
  CHECK(0 < capacity && capacity <= config_.sequence_length,
        "a cache of {} tokens, the model takes 1 to {}", capacity, config_.sequence_length);
  std::int64_t entries = 0;
  for (const Layer& layer : stages_[0].layers()) entries += layer.num_attentions();
  return {entries, capacity, config_.kv_heads, config_.head_size(), parameters_->types().operand,
          device_};
}

Tensor Model::logits(std::span<const std::int32_t> ids, bool last_only, KvCache* cache) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t past = cache == nullptr ? 0 : cache->length();
  const std::int64_t room = (cache == nullptr ? config_.sequence_length : cache->capacity()) - past;
  CHECK(0 < tokens && tokens <= room, "{} tokens, the model takes 1 to {}", tokens, room);
  Context ctx = context(no_stash_, attention_shape(config_, 1, tokens), false);
  ctx.shape.first_position = past;
  ctx.cache = cache;
  GateForcing gates;
  if (logits_gates_ != nullptr) {
    gates = {logits_gates_->forced_T2.slice(0, tokens), logits_gates_->source_T.slice(0, tokens),
             logits_gates_->own_T2.slice(0, tokens)};
    ctx.gates = &gates;
  }
  const std::int64_t rows = last_only ? 1 : tokens;
  const std::size_t bytes =
      static_cast<std::size_t>(rows * config_.vocab_size) * size_of(ctx.types().master);
  if (logits_.bytes() < bytes) logits_ = device_.allocate(bytes);
  const Tensor logits_TV{logits_.data(), ctx.types().master, {rows, config_.vocab_size}};
  const ArenaFrame frame(scratch_);
  const Tensor x_TD =
      scratch_.allocate(ctx.types().stream, {tokens, config_.hidden_size}, "residual stream");
  if (cache != nullptr) cache->begin_pass();
  stages_[0].infer(ctx, upload(ids, 0), x_TD);
  if (cache != nullptr) cache->end_pass(tokens);
  stages_[0].head().logits(ctx, logits_TV, x_TD.slice(tokens - rows, tokens));
  return logits_TV;
}

}  // namespace dualpath
