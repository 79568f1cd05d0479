#include "launcher/train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "model/lr_schedule.h"
#include "model/parameter_slices.h"
#include "model/regularizers.h"
#include "parallel/scoped_timer.h"

namespace dualpath {

namespace {

TrainerOptions resolved(TrainerOptions options, int ranks) {
  options.parallel = resolve(options.parallel, ranks);
  return options;
}

// For the operations of groups no larger than this one; null where they go on the kernels' stream.
std::unique_ptr<Stream> stream_beside(const TrainerOptions& options, Device& device,
                                      const Communicator& group) {
  const bool beside = options.parallel.overlap == Overlap::on && group.size() > 1;
  return beside ? group.make_stream_beside(device) : nullptr;
}

}  // namespace

BatchLayout batch_layout(const TrainerOptions& options, int rank) {
  const GridShape shape = grid_shape(options.parallel);
  const GridCoord coord = coord_of(rank, shape);
  const std::int64_t readers = std::int64_t{shape.tensor} * shape.data;
  const std::int64_t unit = options.micro_batch_size * readers;
  CHECK(options.global_batch_size % unit == 0, "global batch {} is no multiple of {}",
        options.global_batch_size, unit);
  return {.data_rank = std::int64_t{coord.data} * shape.tensor + coord.tensor,
          .data_size = readers,
          .micro_batch_size = options.micro_batch_size,
          .accumulation = options.global_batch_size / unit};
}

ModelOptions model_options(const TrainerOptions& options, const ParallelLayout& layout) {
  return {.types = options.types,
          .micro_batch_size = options.micro_batch_size,
          .recompute = options.parallel.recompute,
          .loss_chunk_tokens = options.loss_chunk_tokens,
          .tracer = options.tracer,
          .part = layout.part};
}

Trainer::Trainer(const TrainerOptions& options, Device& device, Stream& stream, Communicator& world)
    : options_(resolved(options, world.size())),
      device_(device),
      stream_(stream),
      ranks_(world, grid_shape(options_.parallel)),
      batch_layout_(batch_layout(options_, world.rank())),
      layout_(
          make_layout(options_.model, options_.parallel, batch_layout_.accumulation, world.rank())),
      ops_(device.make_ops(stream)),
      replay_(options_.cuda_graphs, layout_.plan,
              own_micro_batches(options_.parallel, options_.model.tied_embeddings,
                                batch_layout_.accumulation),
              device, stream),
      own_tensor_stream_(stream_beside(options_, device, ranks_.of(GridGroup::tensor))),
      own_pipeline_stream_(stream_beside(options_, device, ranks_.of(GridGroup::pipeline))),
      own_replica_stream_(stream_beside(options_, device, world)),
      tensor_stream_(own_tensor_stream_ ? *own_tensor_stream_ : stream),
      pipeline_stream_(own_pipeline_stream_ ? *own_pipeline_stream_ : stream),
      replica_stream_(own_replica_stream_ ? *own_replica_stream_ : stream),
      tensor_(ranks_.of(GridGroup::tensor), stream, tensor_stream_),
      model_(options_.model, model_options(options_, layout_), device, stream, &tensor_),
      optimizer_(options_.optimizer, model_.parameters(), options_.parallel.zero == Zero::on,
                 device, stream),
      replicas_(model_.parameters(), ranks_, options_.parallel.zero == Zero::on, *ops_, stream,
                replica_stream_),
      batch_tokens_(options_.global_batch_size * options_.model.sequence_length),
      loss_scale_(1 / static_cast<double>(batch_tokens_)),
      exchanged_(static_cast<std::size_t>(layout_.plan.exchanges)),
      sums_(static_cast<std::size_t>(model_.sums().numel())) {
  regularizers_ = make_regularizer_scales(options_.regularizers, options_.model,
                                          static_cast<double>(batch_tokens_),
                                          static_cast<double>(options_.global_batch_size));
  const auto micro_batch_tokens =
      static_cast<std::size_t>(options_.micro_batch_size * options_.model.sequence_length);
  validation_inputs_.resize(micro_batch_tokens);
  validation_targets_.resize(micro_batch_tokens);
  connect_stages();
}

// Before the memory goes that their work still reads and writes.
Trainer::~Trainer() {
  for (std::unique_ptr<Stream>* stream :
       {&own_tensor_stream_, &own_pipeline_stream_, &own_replica_stream_})
    stream->reset();
}

// One message to each neighbour among the stages. With the first one between two ranks a backend
// may set up their connection, and hold up both until it stands: here no stage waits for another's
// work.
void Trainer::connect_stages() {
  Communicator& stages = ranks_.of(GridGroup::pipeline);
  if (stages.size() == 1) return;
  const Tensor x = model_.message_buffer(0).reshape({model_.message_buffer(0).numel()});
  const int next = (stages.rank() + 1) % stages.size();
  const int before = (stages.rank() + stages.size() - 1) % stages.size();
  for (const auto& [to, from] : {std::pair(next, before), std::pair(before, next)}) {
    const Transfer transfers[] = {{x.slice(0, 1), to, true}, {x.slice(1, 2), from, false}};
    stages.exchange(transfers, stream_);
  }
}

void Trainer::initialize() {
  model_.parameters().initialize(options_.seed, device_, stream_);
}

void Trainer::start(const SampleSource& source, const TrainingProgress& progress) {
  replicas_.wait_for_values();
  progress_ = progress;
  if (options_.parallel.zero == Zero::on) {
    replicas_.gather_everything();
  } else {
    model_.refresh_operands();
  }
  loader_.emplace(source, batch_layout_, static_cast<std::uint64_t>(progress.consumed_samples),
                  options_.prefetch_batches);
}

StepResult Trainer::step(const StepRequests& requests) {
  const Phase phase(options_.tracer, "step", progress_.step + 1);
  StepResult result;
  const ExposedCommunication exposed_before = exposed();
  const GridTraffic traffic_before = ranks_.traffic();
  const double waited_ms = loader_->wait_ms();
  const Batch& batch = loader_->next();
  result.data_wait_ms = loader_->wait_ms() - waited_ms;

  CHECK(batch.num_targets() * layout_.reading_ranks == batch_tokens_,
        "{} targets on {} ranks, not {} tokens", batch.num_targets(), layout_.reading_ranks,
        batch_tokens_);

  model_.zero_gradients();
  model_.zero_sums();
  result.no_graphs = begin_replay(batch);
  run_plan(batch);
  {
    const Phase waiting(options_.tracer, "reduce gradients");
    replicas_.finish_reduction();
  }
  optimizer_.add_gradient_squares(
      model_.sums().slice(StepSums::gradient_squares, StepSums::gradient_squares + 1),
      model_.parameters());
  model_.set_sum(StepSums::stop, requests.stop ? 1 : 0);
  model_.set_sum(StepSums::save, requests.save ? 1 : 0);
  all_reduce_sums();
  result.grad_norm = std::sqrt(sums_[StepSums::gradient_squares]);
  result.loss = loss_scale_ * sums_[StepSums::loss];
  check_finite(result.loss, result.grad_norm);

  result.learning_rate =
      learning_rate(options_.optimizer, progress_.step + 1, options_.total_steps);
  update(result.learning_rate, clip_scale(result.grad_norm, options_.optimizer.clip_grad));

  progress_.step += 1;
  progress_.consumed_samples += options_.global_batch_size;
  progress_.consumed_tokens += batch_tokens_;
  result.communication = exposed().since(exposed_before);
  result.traffic = ranks_.traffic();
  result.traffic -= traffic_before;
  result.pipeline_idle = 1 - sums_[StepSums::computing_ms] / sums_[StepSums::pipeline_ms];
  result.requests = {sums_[StepSums::stop] > 0, sums_[StepSums::save] > 0};
  const auto readouts = std::span(sums_).subspan(StepSums::first_readout);
  for (double& readout : readouts) readout *= loss_scale_;
  result.readouts = readouts;
  return result;
}

// Values may be on their way until a chunk's first forward pass; gradients are whole with the last
// micro-batch's.
bool Trainer::talks_in(const ChunkWork& work) const {
  const std::int64_t last = batch_layout_.accumulation - 1;
  return work.micro_batch == (work.work == Work::forward ? 0 : last);
}

// Before any slot is taken. Returns why passes are not recorded from here on, if that has failed.
std::string Trainer::begin_replay(const Batch& batch) {
  const auto issue_alone = [&](const ComputeOp& op) {
    Model::Pass pass = pass_of(op, batch);
    pass.events = nullptr;  // no rank is waited for or told
    issue(op, pass);
  };
  std::string obstacle = replay_.begin_step(std::cref(issue_alone));
  if (!obstacle.empty()) model_.abandon_passes();
  return obstacle;
}

// All micro-batches' passes on this stage, in the order that the plan gives. The first stage begins
// and ends them, so that its time is the pipeline's.
void Trainer::run_plan(const Batch& batch) {
  const double waited_before_ms = pipeline_exposed_ms_;
  double ms = 0;
  {
    const ScopedTimer all(ms);
    for (const PipelineOp& op : layout_.plan.ops) carry_out(op, batch);
  }
  const bool first_stage = layout_.part.stages.front().first;
  model_.set_sum(StepSums::computing_ms, ms - (pipeline_exposed_ms_ - waited_before_ms));
  model_.set_sum(StepSums::pipeline_ms, first_stage ? layout_.shape.pipeline * ms : 0);
}

void Trainer::carry_out(const PipelineOp& op, const Batch& batch) {
  if (const auto* work = std::get_if<ComputeOp>(&op)) {
    compute(*work, batch);
  } else if (const auto* messages = std::get_if<ExchangeOp>(&op)) {
    exchange(*messages);
  } else {
    const Phase phase(options_.tracer, "wait for other stages");
    const ScopedTimer timer(pipeline_exposed_ms_);
    stream_.wait_for(exchanged_[static_cast<std::size_t>(std::get<AwaitOp>(op).exchange)]);
  }
}

Model::Pass Trainer::pass_of(const ComputeOp& op, const Batch& batch) {
  const ChunkWork& work = op.work;
  return {.stage = work.chunk,
          .slot = op.slot,
          .deferred_slot = op.deferred_slot,
          .ids = batch.inputs(work.micro_batch),
          .targets = batch.targets(work.micro_batch),
          .loss_scale = loss_scale_,
          .regularizers = regularizers_,
          .readouts = true,
          .events = talks_in(work) ? &replicas_ : nullptr};
}

void Trainer::compute(const ComputeOp& op, const Batch& batch) {
  const ChunkWork& work = op.work;
  const Phase phase(options_.tracer, name_of(work.work), work.micro_batch);
  const Model::Pass pass = pass_of(op, batch);
  if (work.work != Work::backward_weight) model_.upload_tokens(pass);
  const auto issuing = [&] { issue(op, pass); };
  replay_.run(op, std::ref(issuing));
}

void Trainer::issue(const ComputeOp& op, const Model::Pass& pass) {
  const auto message = [&](int buffer) {
    return buffer < 0 ? Tensor{} : model_.message_buffer(buffer);
  };
  if (op.work.work == Work::backward_weight) {
    model_.backward_weights(pass);
    return;
  }
  const Tensor input_TD = message(op.input), output_TD = message(op.output);
  Tensor result_TD;
  if (op.work.work == Work::forward) {
    result_TD = model_.forward(pass, input_TD);
  } else {
    result_TD = !input_TD.empty()    ? input_TD
                : !output_TD.empty() ? output_TD
                                     : model_.message_buffer(0);  // alone: the message of nobody
    model_.backward(pass, result_TD);
  }
  if (!output_TD.empty() && output_TD.data != result_TD.data)
    ops_->run(op::Copy{.out = output_TD, .in = result_TD});
}

void Trainer::exchange(const ExchangeOp& op) {
  std::array<Transfer, Communicator::max_transfers> transfers;
  std::size_t count = 0;
  CHECK(op.messages.size() <= transfers.size(), "an exchange of {} messages", op.messages.size());
  for (const Message& m : op.messages)
    transfers[count++] = {model_.message_buffer(m.buffer), m.peer, m.send};
  const Phase phase(options_.tracer, "exchange with other stages");
  const ScopedTimer timer(pipeline_exposed_ms_);
  pipeline_stream_.wait_for(stream_);
  ranks_.of(GridGroup::pipeline).exchange(std::span(transfers).first(count), pipeline_stream_);
  exchanged_[static_cast<std::size_t>(op.id)] = pipeline_stream_.record_event();
}

ExposedCommunication Trainer::exposed() const {
  return {tensor_.exposed_ms(), pipeline_exposed_ms_, replicas_.exposed_ms(), sums_exposed_ms_};
}

// The step's one all-reduce over the world; the sums are on the host then.
void Trainer::all_reduce_sums() {
  const Phase phase(options_.tracer, "sums");
  {
    const ScopedTimer timer(sums_exposed_ms_);
    ranks_.world().all_reduce(model_.sums(), Reduce::sum, stream_);
  }
  device_.copy_to_host(sums_.data(), model_.sums(), stream_);
  stream_.synchronize();
}

// A region's new values travel while the next region is updated.
void Trainer::update(double learning_rate, double gradient_scale) {
  const Phase phase(options_.tracer, "optimizer");
  for (std::size_t r = 0; r < model_.parameters().regions().size(); ++r) {
    optimizer_.update(model_.parameters(), r, progress_.step + 1, learning_rate, gradient_scale);
    replicas_.start_gather(r);
  }
}

void Trainer::check_finite(double loss, double grad_norm) const {
  if (std::isfinite(loss) && std::isfinite(grad_norm)) return;
  DUALPATH_FAIL(
      ExitCode::numerics,
      "step {}: loss is {} and the gradient's norm {}; the weights were not updated. Resume "
      "from the last checkpoint with a lower optimizer.lr, or look at the data of this step",
      progress_.step + 1, loss, grad_norm);
}

// All ranks go through the same number of whole micro-batches, since they share the work on each;
// where there are no more samples, all targets are absent.
ValidationResult Trainer::validate(const SampleSource& source, std::int64_t num_samples,
                                   std::span<const std::uint32_t> bytes_of_token) {
  const std::int64_t micro_batch = options_.micro_batch_size;
  const auto length = static_cast<std::size_t>(options_.model.sequence_length);
  std::int64_t targets = 0, bytes = 0;
  model_.zero_sums();
  replicas_.wait_for_values();
  for (std::int64_t round = 0; round < num_samples; round += layout_.reading_ranks * micro_batch) {
    stream_.synchronize();  // the buffers have been read
    const std::int64_t begin = round + layout_.reading_rank * micro_batch;
    std::ranges::fill(validation_inputs_, 0);
    std::ranges::fill(validation_targets_, -1);
    for (std::int64_t i = 0; i < micro_batch && begin + i < num_samples; ++i) {
      const auto offset = static_cast<std::size_t>(i) * length;
      source.read(static_cast<std::uint64_t>(begin + i),
                  std::span(validation_inputs_).subspan(offset, length),
                  std::span(validation_targets_).subspan(offset, length));
    }
    evaluate(validation_inputs_, validation_targets_);
    if (!layout_.is_last_stage) continue;  // its ranks read the same: they count for all
    for (const std::int32_t target : validation_targets_) {
      if (target < 0) continue;
      ++targets;
      if (!bytes_of_token.empty()) bytes += bytes_of_token[static_cast<std::size_t>(target)];
    }
  }
  model_.set_sum(StepSums::targets, static_cast<double>(targets));
  model_.set_sum(StepSums::bytes, static_cast<double>(bytes));
  all_reduce_sums();
  return {.loss = sums_[StepSums::loss] / std::max(1.0, sums_[StepSums::targets]),
          .targets = static_cast<std::int64_t>(sums_[StepSums::targets]),
          .bytes = static_cast<std::int64_t>(sums_[StepSums::bytes])};
}

// One micro-batch through all pieces of the model, in their order.
void Trainer::evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets) {
  for (int chunk = 0; chunk < std::ssize(model_.stages()); ++chunk) {
    const Stage& stage = model_.stages()[static_cast<std::size_t>(chunk)];
    const Tensor x_TD = model_.message_buffer(0);
    if (!stage.is_first()) pass_on(x_TD, -1);
    model_.evaluate_stage({.stage = chunk, .ids = ids, .targets = targets}, x_TD);
    if (!stage.is_last()) pass_on(x_TD, 1);
  }
}

// Receives x from the stage before (-1), or sends it to the one after (1).
void Trainer::pass_on(Tensor x_TD, int direction) {
  Communicator& stages = ranks_.of(GridGroup::pipeline);
  const int peer = (stages.rank() + direction + stages.size()) % stages.size();
  const Transfer transfer{x_TD, peer, direction > 0};
  stages.exchange({&transfer, 1}, stream_);
}

std::vector<TensorSlice> Trainer::state() const {
  return options_.parallel.zero == Zero::on ? owned_state(model_.parameters(), optimizer_)
                                            : updated_state(model_.parameters(), optimizer_);
}

std::vector<TensorSlice> Trainer::state_to_save() const {
  return owned_state(model_.parameters(), optimizer_);
}

}  // namespace dualpath
