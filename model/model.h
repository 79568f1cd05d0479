// Model: what one rank has of the model — parameters, activation memory and the passes over one
// micro-batch — on one device. How many micro-batches make a step, over which ranks, and in which
// order passes of several micro-batches and stages run, is the trainer's.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "model/activation_memory.h"
#include "model/model_layout.h"

namespace dualpath {

class Model {
 public:
  // `tensor` outlives the model; null: a group of one. Throws
  // Error(configuration) where the memory is not to be had.
  Model(const ResolvedModelConfig& config, const ModelOptions& options, Device& device,
        Stream& stream, TensorAxis* tensor = nullptr);

  const ResolvedModelConfig& config() const { return config_; }
  Device& device() const { return device_; }
  Stream& stream() const { return stream_; }
  ParameterStore& parameters() { return *parameters_; }
  const ParameterStore& parameters() const { return *parameters_; }
  const ActivationMemory& activation_memory() const { return memory_; }
  Ops& ops() { return *ops_; }  // issues the passes' kernels
  std::size_t stash_peak_bytes() const;
  const std::deque<Stage>& stages() const { return stages_; }

  // To be called after parameter values were written from outside.
  void refresh_operands() { parameters_->refresh_operands(*ops_); }

  void zero_gradients();

  // ---- one micro-batch on one stage; ids and targets: micro_batch_size·sequence_length tokens.
  // They stay as they are until the stream is synchronized, as all ids that a model is given.
  // `slot` counts the micro-batches held at once. `events` may be null.
  struct Pass {
    int stage = 0;
    int slot = 0;            // -1: of backward_weights(), which needs none
    int deferred_slot = -1;  // of backward() and backward_weights(); -1: nothing is deferred
    std::span<const std::int32_t> ids;      // count on the first stage
    std::span<const std::int32_t> targets;  // count on the last stage
    double loss_scale = 1;
    RegularizerScales regularizers = {};
    bool readouts = false;
    BucketEvents* events = nullptr;
  };
  // Puts ids (on the first stage) and targets (on the last) where the passes find them: to be
  // called before each forward() and backward(). What these issue then does not depend on the
  // micro-batch, but for events.
  void upload_tokens(const Pass& pass);
  // Takes the slot. x: what the stage before has made, [T, D]; empty on the first stage. Returns
  // the stage's output [T, D], which lies in the slot.
  Tensor forward(const Pass& pass, Tensor x_TD);
  // gradients += ∂/∂parameters of loss_scale·Σ token losses + regularisers; sums += . d: ∂L/∂output
  // on entry (but on the last stage), ∂L/∂input on return. Gives the slot free.
  void backward(const Pass& pass, Tensor d_TD);
  // What backward() deferred: gradients += . Gives the deferred slot free.
  void backward_weights(const Pass& pass);
  // Gives all slots free: of passes that were issued while work was recorded, and never done.
  void abandon_passes();
  // Memory for what travels between stages, [T, D]; i below ModelPart::message_buffers.
  Tensor message_buffer(int i) const { return tensors_.message_buffers.row(i); }
  // sums += the token losses (and read-outs); nothing else changes. x: the stage's input on entry
  // (but the first stage's), its output on return. ids: up to micro_batch_size sequences.
  void evaluate_stage(const Pass& pass, Tensor x_TD);

  // Texts that share beginnings, in one pass: model/scorer.h.
  struct ScorePass {
    int stage = 0;
    std::span<const std::int32_t> ids;      // [T], count on the first stage
    std::span<const std::int32_t> targets;  // of the last rows; count on the last stage
    RopeTables rope;                        // [T, E/2]: the angles of each row's position
    TextSegments segments;
    const GateForcing* gates = nullptr;             // null: the model's own
    const TokenReadouts* token_readouts = nullptr;  // =; null: not wanted
    Tensor statistics_RS3;                          // of the targets' rows: LossHead::statistics()
  };
  // statistics =, on the last stage. x as in evaluate_stage(), at most
  // micro_batch_size·sequence_length rows, as many on all ranks of the tensor axis.
  void score_stage(const ScorePass& pass, Tensor x_TD);

  // Issues on `ops`, which compute nothing, what training and evaluating a micro-batch issue on the
  // model's tensors. REQUIRES: the model is for training, and no slot is taken.
  void issue_passes(Ops& ops);

  // ---- the same with all stages here: one forward and one backward pass
  void forward_backward(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                        double loss_scale, RegularizerScales regularizers, bool readouts);
  void evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                bool readouts);
  void score(const ScorePass& pass);
  // Logits [positions, V] of one sequence of at most sequence_length tokens, or of its last token
  // only ([1, V]). With a cache, `ids` go on behind the tokens that it holds, and join them.
  // Lies in memory that the next call reuses.
  Tensor logits(std::span<const std::int32_t> ids, bool last_only, KvCache* cache = nullptr);
  // The gates of logits(), instead of the model's own: as many rows as a call may have tokens.
  // Null: the model's own. It outlives its use.
  void force_gates(const GateForcing* gates) { logits_gates_ = gates; }
  // An empty cache of this model, for at most `capacity` <= sequence_length tokens.
  KvCache make_cache(std::int64_t capacity) const;

  // [first_readout + L·num_readouts] f64, on the device.
  Tensor sums() const { return tensors_.sums; }
  void zero_sums() { ops_->run(op::Fill{.out = tensors_.sums, .value = 0}); }
  void set_sum(StepSums::Slot slot, double value) {
    ops_->run(op::Fill{.out = tensors_.sums.slice(slot, slot + 1), .value = value});
  }

 private:
  // The activations of one micro-batch on one stage.
  struct Slot {
    Arena stash;
    StageStash layers;
    Tensor output_TD;
  };
  Context context(Arena& stash, AttentionShape shape, bool readouts);
  Context pass_context(const Pass& pass);
  Stage& stage_of(const Pass& pass) { return stages_[static_cast<std::size_t>(pass.stage)]; }
  Slot& slot_of(const Pass& pass);
  Tensor upload(std::span<const std::int32_t> host, std::int64_t begin);

  ResolvedModelConfig config_;
  ModelOptions options_;
  Device& device_;
  Stream& stream_;
  TensorAxis alone_;
  TensorAxis& tensor_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<ParameterStore> parameters_;
  std::deque<Stage> stages_;
  ActivationMemory memory_;
  std::vector<std::vector<Slot>> slots_;                // by stage
  std::vector<std::vector<DeferredWeights>> deferred_;  // by stage
  Arena no_stash_;
  Arena scratch_;
  Buffer logits_;
  const GateForcing* logits_gates_ = nullptr;
  Buffer constants_;  // what tensors_ lie in
  ModelTensors tensors_;
};

}  // namespace dualpath
