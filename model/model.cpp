#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <functional>

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
  Tensor boundaries;
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
  if (options.training) {
    c.boundaries =
        take(arena, options.types.stream, {options.part.boundaries, tokens, config.hidden_size});
  }
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

std::vector<StageLayers> stages_of(const ModelConfig& config, const ModelPart& part) {
  if (!part.stages.empty()) return part.stages;
  return {{.begin = 0, .end = config.layers, .first = true, .last = true}};
}

std::deque<Stage> make_stages(const ModelConfig& config, const ModelOptions& options,
                              ParameterStore& parameters) {
  std::deque<Stage> stages;
  for (const StageLayers& layers : stages_of(config, options.part)) {
    stages.emplace_back(config, parameters, layers, options.part.vocabulary, options.recompute,
                        options.loss_chunk_tokens);
  }
  parameters.seal();
  return stages;
}

StoreOptions store_options(const ModelOptions& options) {
  return {.types = options.types,
          .gradients = options.training,
          .sharded_masters = options.part.sharded_masters};
}

int slots_of(const ModelPart& part, std::size_t stage) {
  return part.slots.empty() ? 1 : part.slots[stage];
}

int deferred_slots_of(const ModelPart& part, std::size_t stage) {
  return part.deferred_slots.empty() ? 0 : part.deferred_slots[stage];
}

Tensor loss_sum(Tensor sums) {
  return sums.slice(StepSums::loss, StepSums::loss + 1);
}

Tensor gate_loss_sums(Tensor sums) {
  return sums.slice(StepSums::gate_entropy, StepSums::gate_balance + 1);
}

Tensor readout_sums(const ModelConfig& config, Tensor sums) {
  return sums.slice(StepSums::first_readout, sums.numel()).reshape({config.layers, num_readouts});
}

void infer_with_loss(Stage& stage, const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor ids_T,
                     Tensor targets_T) {
  stage.infer(ctx, ids_T, x_TD);
  if (stage.is_last()) stage.head().loss(ctx, loss_T, x_TD, targets_T);
}

// What the passes of a micro-batch on a stage work on.
struct PassTensors {
  Tensor ids_T, x_TD, loss_T, sums;
};

// Issues them, with every regulariser on.
PassCosts issue_training_passes(Stage& stage, const Context& ctx, const PassTensors& t,
                                const std::function<double()>& spent) {
  const RegularizerScales all_on{
      .ponder = 1, .entropy = 1, .balance = 1, .gate_losses = gate_loss_sums(t.sums)};
  StageStash layers;
  const double before = spent();
  const Tensor out_TD = stage.forward(ctx, layers, t.ids_T, t.x_TD, nullptr);
  const double forward = spent();
  if (stage.is_last()) {
    stage.head_backward(ctx, t.loss_T, t.x_TD, out_TD, t.ids_T, 1, nullptr);
    ctx.ops.column_sums(loss_sum(t.sums), t.loss_T);
  }
  stage.backward(ctx, layers, t.ids_T, t.x_TD, all_on, nullptr);
  const double backward = spent();
  if (ctx.deferred != nullptr) stage.backward_weights(ctx, nullptr);
  return {forward - before, backward - forward, spent() - backward};
}

void add_categories(std::vector<CategoryBytes>& sums, const std::vector<CategoryBytes>& more,
                    std::int64_t times) {
  for (CategoryBytes c : more) {
    c.bytes *= static_cast<std::size_t>(times);
    const auto it = std::ranges::find(sums, c.category, &CategoryBytes::category);
    if (it == sums.end()) {
      sums.push_back(c);
    } else {
      it->bytes += c.bytes;
    }
  }
  std::ranges::stable_sort(sums, std::greater<>(), &CategoryBytes::bytes);
}

}  // namespace

ParameterStore lay_out_parameters(const ModelConfig& config, const ModelOptions& options) {
  ParameterStore parameters(options.part.place);
  make_stages(config, options, parameters);
  parameters.set_options(store_options(options));
  return parameters;
}

ActivationMemory measure_activations(const ModelConfig& config, const ModelOptions& options) {
  DryOps ops;
  return measure_activations(config, options, ops, [&] { return ops.flops(); });
}

ActivationMemory measure_activations(const ModelConfig& config, const ModelOptions& options,
                                     Ops& ops, const std::function<double()>& spent) {
  ParameterStore parameters(options.part.place);
  std::deque<Stage> stages = make_stages(config, options, parameters);
  parameters.set_options(store_options(options));
  const GridPlace& place = options.part.place;
  TensorAxis tensor(coord_of(place.rank, place.shape).tensor, place.shape.tensor);
  DryOps unseen;
  Arena scratch, constants_arena;
  const Constants c = lay_out_constants(config, options, constants_arena);
  const Tensor ids_T = c.tokens.slice(0, c.loss_T.numel());
  ActivationMemory memory;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    Stage& stage = stages[i];
    Arena stash;
    DeferredWeights deferred;
    const int deferred_slots = deferred_slots_of(options.part, i);
    const auto context = [&](Ops& kernels) {
      return Context{kernels,
                     parameters,
                     stash,
                     scratch,
                     c.rope,
                     attention_shape(config, options.micro_batch_size, config.sequence_length),
                     readout_sums(config, c.sums),
                     tensor,
                     deferred_slots > 0 ? &deferred : nullptr};
    };
    const Context ctx = context(ops);
    const Tensor x_TD{nullptr, options.types.stream, {ctx.tokens(), config.hidden_size}};
    if (options.training) {
      memory.passes.push_back(
          issue_training_passes(stage, ctx, {ids_T, x_TD, c.loss_T, c.sums}, spent));
    }
    {
      const ArenaFrame frame(scratch);
      infer_with_loss(stage, context(unseen), c.loss_T,
                      scratch.allocate(x_TD.dtype, x_TD.shape, "residual stream"), ids_T, ids_T);
    }
    const int slots = slots_of(options.part, i);
    memory.slot_bytes.push_back(stash.peak_bytes());
    memory.deferred_bytes.push_back(deferred.arena.peak_bytes());
    memory.stash_bytes += stash.peak_bytes() * static_cast<std::size_t>(slots) +
                          deferred.arena.peak_bytes() * static_cast<std::size_t>(deferred_slots);
    add_categories(memory.stash, stash.peak_by_category(), slots);
    add_categories(memory.stash, deferred.arena.peak_by_category(), deferred_slots);
  }
  memory.constant_bytes = constants_arena.peak_bytes();
  memory.scratch_bytes = scratch.peak_bytes();
  memory.scratch = scratch.peak_by_category();
  return memory;
}

Model::Model(const ModelConfig& config, const ModelOptions& options, Device& device, Stream& stream,
             TensorAxis* tensor)
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
    for (int n = slots_of(options.part, i); n > 0; --n)
      slots.push_back({Arena(device.allocate(memory_.slot_bytes[i])), {}, {}});
    std::vector<DeferredWeights>& deferred = deferred_.emplace_back();
    for (int n = deferred_slots_of(options.part, i); n > 0; --n)
      deferred.push_back({Arena(device.allocate(memory_.deferred_bytes[i])), {}});
  }
  scratch_ = Arena(device.allocate(memory_.scratch_bytes));
  Arena constants(device.allocate(memory_.constant_bytes));
  const Constants c = lay_out_constants(config, options, constants);
  constants_ = std::move(constants).take_backing();
  rope_ = c.rope;
  tokens_ = c.tokens;
  loss_T_ = c.loss_T;
  sums_ = c.sums;
  boundaries_ = c.boundaries;
  if (options.types.master == DType::f64) {
    fill_rope<double>(config, rope_, device, stream);
  } else {
    fill_rope<float>(config, rope_, device, stream);
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
              rope_,
              shape,
              readouts ? readout_sums(config_, sums_) : Tensor{},
              tensor_};
  ctx.tracer = options_.tracer;
  return ctx;
}

// Of a whole micro-batch.
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
  const Tensor device_tokens = tokens_.slice(begin, begin + static_cast<std::int64_t>(host.size()));
  device_.copy_to_device(device_tokens, host.data(), stream_);
  return device_tokens;
}

void Model::upload_tokens(const Pass& pass) {
  const auto upload_all = [&](std::span<const std::int32_t> host, std::int64_t begin) {
    CHECK(static_cast<std::int64_t>(host.size()) == loss_T_.numel(),
          "a micro-batch has {} tokens, not {}", loss_T_.numel(), host.size());
    upload(host, begin);
  };
  if (stage_of(pass).is_first()) upload_all(pass.ids, 0);
  if (stage_of(pass).is_last()) upload_all(pass.targets, loss_T_.numel());
}

void Model::zero_gradients() {
  ops_->fill(parameters_->flat_gradients(), 0);
}

Tensor Model::forward(const Pass& pass, Tensor x_TD) {
  Slot& slot = slot_of(pass);
  Stage& stage = stage_of(pass);
  CHECK(slot.stash.mark() == 0, "slot {} of stage {} is taken", pass.slot, pass.stage);
  slot.output_TD = stage.forward(pass_context(pass), slot.layers, ids(), x_TD, pass.events);
  return slot.output_TD;
}

void Model::backward(const Pass& pass, Tensor d_TD) {
  Slot& slot = slot_of(pass);
  Stage& stage = stage_of(pass);
  const Context ctx = pass_context(pass);
  if (stage.is_last()) {
    stage.head_backward(ctx, loss_T_, d_TD, slot.output_TD, targets(), pass.loss_scale,
                        pass.events);
    ops_->column_sums(loss_sum(sums_), loss_T_);
  }
  RegularizerScales regularizers = pass.regularizers;
  regularizers.gate_losses = gate_loss_sums(sums_);
  stage.backward(ctx, slot.layers, ids(), d_TD, regularizers, pass.events);
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
  const PassTensors t{ids(), boundary(0), loss_T_, sums_};
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    Arena& stash = slots_[i].front().stash;
    DeferredWeights* deferred = deferred_[i].empty() ? nullptr : &deferred_[i].front();
    const Context ctx{ops,
                      *parameters_,
                      stash,
                      scratch_,
                      rope_,
                      attention_shape(config_, options_.micro_batch_size, config_.sequence_length),
                      readout_sums(config_, sums_),
                      tensor,
                      deferred};
    issue_training_passes(stages_[i], ctx, t, [] { return 0.0; });
    stash.release(0);
    if (deferred != nullptr) deferred->clear();
    infer_with_loss(stages_[i], ctx, t.loss_T, t.x_TD, t.ids_T, t.ids_T);
  }
}

void Model::evaluate_stage(const Pass& pass, Tensor x_TD) {
  Stage& stage = stage_of(pass);
  const std::int64_t tokens = x_TD.rows();
  CHECK(tokens % config_.sequence_length == 0 && tokens <= loss_T_.numel(),
        "{} tokens are not up to {} sequences of {}", tokens, options_.micro_batch_size,
        config_.sequence_length);
  const Context ctx =
      context(no_stash_,
              attention_shape(config_, tokens / config_.sequence_length, config_.sequence_length),
              pass.readouts);
  const Tensor loss_T = loss_T_.slice(0, tokens);
  infer_with_loss(stage, ctx, loss_T, x_TD, stage.is_first() ? upload(pass.ids, 0) : Tensor{},
                  stage.is_last() ? upload(pass.targets, tokens) : Tensor{});
  if (stage.is_last()) ops_->column_sums(loss_sum(sums_), loss_T);
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
  backward(pass, boundary(0));
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
