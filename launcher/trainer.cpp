#include "launcher/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "model/lr_schedule.h"
#include "model/regularizers.h"

namespace dualpath {

namespace {

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

BatchLayout batch_layout(const TrainerOptions& options, const Communicator& ranks) {
  const std::int64_t unit = options.micro_batch_size * ranks.size();
  CHECK(options.global_batch_size % unit == 0, "global batch {} is no multiple of {}",
        options.global_batch_size, unit);
  return {.data_rank = ranks.rank(),
          .data_size = ranks.size(),
          .micro_batch_size = options.micro_batch_size,
          .accumulation = options.global_batch_size / unit};
}

}  // namespace

Trainer::Trainer(const TrainerOptions& options, Device& device, Stream& stream, Communicator& ranks)
    : options_(options),
      device_(device),
      stream_(stream),
      ranks_(ranks),
      model_(options.model,
             {.types = options.types,
              .micro_batch_size = options.micro_batch_size,
              .recompute = options.recompute,
              .loss_chunk_tokens = options.loss_chunk_tokens},
             device, stream),
      optimizer_(options.optimizer, model_.parameters(), device, stream),
      layout_(batch_layout(options, ranks)),
      gradient_squares_(device.allocate(sizeof(double))),
      sums_(static_cast<std::size_t>(model_.sums().numel())) {
  const auto sequences = static_cast<double>(options.global_batch_size);
  const auto tokens = sequences * static_cast<double>(options.model.sequence_length);
  regularizers_ = make_regularizer_scales(options.regularizers, model_.stage(), tokens, sequences);
  const auto micro_batch_tokens =
      static_cast<std::size_t>(options.micro_batch_size * options.model.sequence_length);
  validation_inputs_.resize(micro_batch_tokens);
  validation_targets_.resize(micro_batch_tokens);
}

void Trainer::initialize() {
  model_.parameters().initialize(options_.seed, device_, stream_);
}

void Trainer::start(const SampleSource& source, const TrainingProgress& progress) {
  progress_ = progress;
  model_.refresh_operands();
  loader_.emplace(source, layout_, static_cast<std::uint64_t>(progress.consumed_samples),
                  options_.prefetch_batches);
}

StepResult Trainer::step(const StepRequests& requests) {
  StepResult result;
  const double waited_ms = loader_->wait_ms();
  const Batch& batch = loader_->next();
  result.data_wait_ms = loader_->wait_ms() - waited_ms;

  // Every sample of the training stream is full, so the number of targets is known beforehand.
  const std::int64_t batch_tokens = options_.global_batch_size * options_.model.sequence_length;
  CHECK(batch.num_targets() * ranks_.size() == batch_tokens,
        "{} targets on {} ranks, not {} tokens", batch.num_targets(), ranks_.size(), batch_tokens);
  const double loss_scale = 1 / static_cast<double>(batch_tokens);

  model_.zero_gradients();
  model_.zero_sums();
  for (std::int64_t m = 0; m < layout_.accumulation; ++m) {
    model_.forward_backward(batch.inputs(m), batch.targets(m), loss_scale, regularizers_, true);
  }
  model_.set_sum(StepSums::stop, requests.stop ? 1 : 0);
  model_.set_sum(StepSums::save, requests.save ? 1 : 0);

  const double communication_start = now_ms();
  all_reduce_gradients();
  ranks_.all_reduce(model_.sums(), Reduce::sum, stream_);
  result.communication_ms = now_ms() - communication_start;

  const Tensor squares{gradient_squares_.data(), DType::f64, {1}};
  optimizer_.sum_of_gradient_squares(squares, model_.parameters());
  // Ranks with other numbers of threads sum in another order; all must clip alike.
  ranks_.broadcast(squares, 0, stream_);
  double sum_of_squares = 0;
  device_.copy_to_host(&sum_of_squares, squares, stream_);
  device_.copy_to_host(sums_.data(), model_.sums(), stream_);
  stream_.synchronize();
  result.grad_norm = std::sqrt(sum_of_squares);
  result.loss = loss_scale * sums_[StepSums::loss];
  check_finite(result.loss, result.grad_norm);

  const std::int64_t step = progress_.step + 1;
  result.learning_rate = learning_rate(options_.optimizer, step, options_.total_steps);
  optimizer_.update(model_.parameters(), step, result.learning_rate,
                    clip_scale(result.grad_norm, options_.optimizer.clip_grad));

  progress_.step = step;
  progress_.consumed_samples += options_.global_batch_size;
  progress_.consumed_tokens += batch_tokens;
  result.requests = {sums_[StepSums::stop] > 0, sums_[StepSums::save] > 0};
  const auto readouts = std::span(sums_).subspan(StepSums::first_readout);
  for (double& readout : readouts) readout *= loss_scale;
  result.readouts = readouts;
  return result;
}

void Trainer::all_reduce_gradients() {
  ranks_.all_reduce(model_.parameters().flat_gradients(), Reduce::sum, stream_);
}

void Trainer::check_finite(double loss, double grad_norm) const {
  if (std::isfinite(loss) && std::isfinite(grad_norm)) return;
  DUALPATH_FAIL(
      ExitCode::numerics,
      "step {}: loss is {} and the gradient's norm {}; the weights were not updated. Resume "
      "from the last checkpoint with a lower optimizer.lr, or look at the data of this step",
      progress_.step + 1, loss, grad_norm);
}

ValidationResult Trainer::validate(const SampleSource& source, std::int64_t num_samples,
                                   std::span<const std::uint32_t> bytes_of_token) {
  const std::int64_t micro_batch = options_.micro_batch_size;
  const auto length = static_cast<std::size_t>(options_.model.sequence_length);
  std::int64_t targets = 0, bytes = 0;
  model_.zero_sums();
  for (std::int64_t begin = ranks_.rank() * micro_batch; begin < num_samples;
       begin += ranks_.size() * micro_batch) {
    const std::int64_t count = std::min(micro_batch, num_samples - begin);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto offset = static_cast<std::size_t>(i) * length;
      source.read(static_cast<std::uint64_t>(begin + i),
                  std::span(validation_inputs_).subspan(offset, length),
                  std::span(validation_targets_).subspan(offset, length));
    }
    const std::size_t tokens = static_cast<std::size_t>(count) * length;
    const auto batch_targets = std::span<const std::int32_t>(validation_targets_).first(tokens);
    for (std::int32_t target : batch_targets) {
      if (target < 0) continue;
      ++targets;
      if (!bytes_of_token.empty()) bytes += bytes_of_token[static_cast<std::size_t>(target)];
    }
    model_.evaluate(std::span<const std::int32_t>(validation_inputs_).first(tokens), batch_targets,
                    false);
  }
  model_.set_sum(StepSums::targets, static_cast<double>(targets));
  model_.set_sum(StepSums::bytes, static_cast<double>(bytes));
  ranks_.all_reduce(model_.sums(), Reduce::sum, stream_);
  device_.copy_to_host(sums_.data(), model_.sums(), stream_);
  stream_.synchronize();
  return {.loss = sums_[StepSums::loss] / std::max(1.0, sums_[StepSums::targets]),
          .targets = static_cast<std::int64_t>(sums_[StepSums::targets]),
          .bytes = static_cast<std::int64_t>(sums_[StepSums::bytes])};
}

namespace {

// Elements [numel·rank/ranks, numel·(rank+1)/ranks) of every parameter within a flat buffer.
void add_slices(std::vector<TensorSlice>& slices, const ParameterStore& store, Tensor flat,
                const std::string& group, int rank, int ranks) {
  for (int i = 0; i < static_cast<int>(store.specs().size()); ++i) {
    const ParameterSpec& spec = store.specs()[static_cast<std::size_t>(i)];
    const std::int64_t size = spec.shape.numel();
    const std::int64_t begin = size * rank / ranks;
    const std::int64_t end = size * (rank + 1) / ranks;
    if (begin == end) continue;
    const std::int64_t offset = store.offset({i});
    slices.push_back({group + "/" + spec.name, flat.dtype, spec.shape, begin, end,
                      flat.slice(offset + begin, offset + end).data});
  }
}

std::vector<TensorSlice> slices_of(const ParameterStore& store, const AdamW& optimizer, int rank,
                                   int ranks) {
  std::vector<TensorSlice> slices;
  add_slices(slices, store, store.flat_values(), "parameters", rank, ranks);
  add_slices(slices, store, optimizer.first_moment(), "adam_m", rank, ranks);
  add_slices(slices, store, optimizer.second_moment(), "adam_v", rank, ranks);
  return slices;
}

}  // namespace

std::vector<TensorSlice> Trainer::state() const {
  return slices_of(model_.parameters(), optimizer_, 0, 1);
}

std::vector<TensorSlice> Trainer::state_to_save() const {
  return slices_of(model_.parameters(), optimizer_, ranks_.rank(), ranks_.size());
}

std::vector<TensorSlice> weights_of(const ParameterStore& store) {
  std::vector<TensorSlice> slices;
  add_slices(slices, store, store.flat_values(), "parameters", 0, 1);
  return slices;
}

}  // namespace dualpath
