// Trainer: one rank's part in training on a grid of ranks. step() reads like the algorithm; files,
// logs, signals and schedules of saving are the run's (launcher/train/training_run.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/tensor_slice.h"
#include "data/tokens/batch_loader.h"
#include "launcher/config/parallel_layout.h"
#include "launcher/train/pass_replay.h"
#include "launcher/train/replica_sync.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "parallel/grid_communicators.h"

namespace dualpath {

struct TrainerOptions {
  ResolvedModelConfig model;
  OptimizerConfig optimizer = {};
  RegularizerConfig regularizers = {};
  NumericTypes types = {};
  ParallelConfig parallel = {};        // what it leaves open follows from the ranks
  std::int64_t global_batch_size = 1;  // sequences; a multiple of micro_batch_size·reading ranks
  std::int64_t micro_batch_size = 1;
  std::int64_t loss_chunk_tokens = default_loss_chunk_tokens;
  std::int64_t prefetch_batches = 2;
  std::int64_t total_steps = 1;  // the learning rate's schedule ends there
  std::uint64_t seed = 1;
  CudaGraphs cuda_graphs = CudaGraphs::automatic;  // by which passes are issued (PassReplay)
  Tracer* tracer = nullptr;                        // told of a step's phases; outlives the trainer
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

// Time that this rank waited for communication, by purpose.
struct ExposedCommunication {
  double tensor_ms = 0;
  double pipeline_ms = 0;
  double replicas_ms = 0;  // gradients, and updated values
  double sums_ms = 0;      // the step's all-reduce, waiting for slower ranks included

  double total_ms() const { return tensor_ms + pipeline_ms + replicas_ms + sums_ms; }
  ExposedCommunication since(const ExposedCommunication& earlier) const {
    return {tensor_ms - earlier.tensor_ms, pipeline_ms - earlier.pipeline_ms,
            replicas_ms - earlier.replicas_ms, sums_ms - earlier.sums_ms};
  }
};

struct StepResult {
  double loss = 0;       // cross-entropy, nats, mean over the global batch
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  ExposedCommunication communication;
  GridTraffic traffic;  // issued by this rank; launcher/plan/traffic_plan.h says how much it is
  double pipeline_idle = 0;  // share of its time in the passes that a stage does not compute
  double data_wait_ms = 0;
  StepRequests requests;  // of any rank
  // Why this rank's passes stop being CUDA graphs from this step on; empty: nothing has changed.
  std::string no_graphs;
  // Means over the tokens of the global batch, [L, num_readouts]; valid until the next step or
  // validation.
  std::span<const double> readouts;
};

struct ValidationResult {
  double loss = 0;  // nats, mean over targets
  std::int64_t targets = 0;
  std::int64_t bytes = 0;  // of text that they stand for; 0: unknown
};

// The micro-batches and the samples of a rank's step; and the options of its model. REQUIRES:
// options.parallel is resolved.
BatchLayout batch_layout(const TrainerOptions& options, int rank);
ModelOptions model_options(const TrainerOptions& options, const ParallelLayout& layout);

class Trainer {
 public:
  // Collective among all `ranks`, the places of the grid. Throws Error(configuration) where memory
  // is not to be had, or where CUDA graphs are wanted and no pass can be one.
  Trainer(const TrainerOptions& options, Device& device, Stream& stream, Communicator& world);
  // Waits for the communication under way.
  ~Trainer();

  // Random weights, the same on every grid.
  void initialize();
  // Begins to read ahead from where `progress` stands. The source outlives the trainer. What is
  // loaded into state() must be there by now. Collective.
  void start(const SampleSource& source, const TrainingProgress& progress);
  // One update. Throws Error(numerics) before it if loss or gradient is not finite, and
  // Error(configuration) where CUDA graphs are wanted and refused. After an exception the trainer
  // can only be destroyed. Collective.
  StepResult step(const StepRequests& requests);

  // Mean loss over the first `num_samples` samples. bytes_of_token: by id, or empty. Collective.
  ValidationResult validate(const SampleSource& source, std::int64_t num_samples,
                            std::span<const std::uint32_t> bytes_of_token);

  // Parameters and moments in the device's memory: what a checkpoint is loaded into. With ZeRO-1
  // the own shards; start() gathers the rest.
  std::vector<TensorSlice> state() const;
  // What this rank saves: together the ranks save every element once.
  std::vector<TensorSlice> state_to_save() const;

  const TrainingProgress& progress() const { return progress_; }
  Model& model() { return model_; }
  std::size_t moment_bytes() const { return optimizer_.moment_bytes(); }
  // Which passes are CUDA graphs, or why none is: for people.
  std::string describe_graphs() const { return replay_.describe(); }

 private:
  void connect_stages();
  bool talks_in(const ChunkWork& work) const;
  std::string begin_replay(const Batch& batch);
  void run_plan(const Batch& batch);
  void carry_out(const PipelineOp& op, const Batch& batch);
  Model::Pass pass_of(const ComputeOp& op, const Batch& batch);
  void compute(const ComputeOp& op, const Batch& batch);
  void issue(const ComputeOp& op, const Model::Pass& pass);
  void exchange(const ExchangeOp& op);
  ExposedCommunication exposed() const;
  void all_reduce_sums();
  void update(double learning_rate, double gradient_scale);
  void evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets);
  void pass_on(Tensor x_TD, int direction);
  void check_finite(double loss, double grad_norm) const;

  TrainerOptions options_;
  Device& device_;
  Stream& stream_;
  GridCommunicators ranks_;
  BatchLayout batch_layout_;
  ParallelLayout layout_;
  std::unique_ptr<Ops> ops_;
  PassReplay replay_;
  // Streams of communication that overlaps; null: it runs on the kernels' stream.
  std::unique_ptr<Stream> own_tensor_stream_, own_pipeline_stream_, own_replica_stream_;
  Stream& tensor_stream_;
  Stream& pipeline_stream_;
  Stream& replica_stream_;
  TensorAxis tensor_;
  Model model_;
  AdamW optimizer_;
  ReplicaSync replicas_;
  // A step's targets. Every training sample is full, so their number is known beforehand.
  std::int64_t batch_tokens_;
  double loss_scale_;
  RegularizerScales regularizers_;
  std::vector<Event> exchanged_;  // by ExchangeOp::id
  double pipeline_exposed_ms_ = 0;
  double sums_exposed_ms_ = 0;
  TrainingProgress progress_;
  std::optional<BatchLoader> loader_;
  std::vector<double> sums_;                                          // host copy of the model's
  std::vector<std::int32_t> validation_inputs_, validation_targets_;  // one micro-batch
};

}  // namespace dualpath
