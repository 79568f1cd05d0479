// Trainer: one rank's part in data-parallel training. step() reads like the algorithm; files, logs,
// signals and schedules of saving are the run's (launcher/training_run.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/tensor_slice.h"
#include "data/batch_loader.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "parallel/communicator.h"

namespace dualpath {

struct TrainerOptions {
  ModelConfig model;  // resolved
  OptimizerConfig optimizer;
  RegularizerConfig regularizers;
  NumericTypes types = {};
  Recompute recompute = Recompute::none;
  std::int64_t global_batch_size = 1;  // sequences; a multiple of micro_batch_size·ranks
  std::int64_t micro_batch_size = 1;
  std::int64_t loss_chunk_tokens = 512;
  std::int64_t prefetch_batches = 2;
  std::int64_t total_steps = 1;  // the learning rate's schedule ends there
  std::uint64_t seed = 1;
};

// How far training has come; with parameters and moments, all that a checkpoint must hold.
struct TrainingProgress {
  std::int64_t step = 0;  // updates made
  std::int64_t consumed_samples = 0;
  std::int64_t consumed_tokens = 0;
};

// What any rank may ask for; all ranks learn it in the step's own all-reduce.
struct StepRequests {
  bool stop = false;
  bool save = false;
};

struct StepResult {
  double loss = 0;       // cross-entropy, nats, mean over the global batch
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double communication_ms = 0;
  double data_wait_ms = 0;
  StepRequests requests;  // of any rank
  // Means over the tokens of the global batch, [L, num_readouts]; valid until the next step.
  std::span<const double> readouts;
};

// All parameters, whole, in host memory: what weights are loaded into.
std::vector<TensorSlice> weights_of(const ParameterStore& store);

struct ValidationResult {
  double loss = 0;  // nats, mean over targets
  std::int64_t targets = 0;
  std::int64_t bytes = 0;  // of text that they stand for; 0: unknown
};

class Trainer {
 public:
  // `ranks` share the batch. Throws Error(configuration) where memory is not to be had.
  Trainer(const TrainerOptions& options, Device& device, Stream& stream, Communicator& ranks);

  // Random weights, the same on every grid.
  void initialize();
  // Begins to read ahead from where `progress` stands. The source outlives the trainer. What is
  // loaded into state() must be there by now.
  void start(const SampleSource& source, const TrainingProgress& progress);
  // One update. Throws Error(numerics) before it if loss or gradient is not finite. Collective.
  StepResult step(const StepRequests& requests);

  // Mean loss over the first `num_samples` samples. bytes_of_token: by id, or empty. Collective.
  ValidationResult validate(const SampleSource& source, std::int64_t num_samples,
                            std::span<const std::uint32_t> bytes_of_token);

  // Parameters and moments, whole, in host memory: what a checkpoint is loaded into.
  std::vector<TensorSlice> state() const;
  // The part of it that this rank saves: together the ranks save every element once.
  std::vector<TensorSlice> state_to_save() const;

  const TrainingProgress& progress() const { return progress_; }
  Model& model() { return model_; }

 private:
  void all_reduce_gradients();
  void check_finite(double loss, double grad_norm) const;

  TrainerOptions options_;
  Device& device_;
  Stream& stream_;
  Communicator& ranks_;
  Model model_;
  AdamW optimizer_;
  RegularizerScales regularizers_;
  BatchLayout layout_;
  TrainingProgress progress_;
  std::optional<BatchLoader> loader_;
  Buffer gradient_squares_;                                           // one f64
  std::vector<double> sums_;                                          // host copy of the model's
  std::vector<std::int32_t> validation_inputs_, validation_targets_;  // one micro-batch
};

}  // namespace dualpath
