// Model: parameters, activation memory and the passes over one micro-batch, on one device. How many
// micro-batches make a step, and over which ranks, is the trainer's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/stage.h"

namespace dualpath {

struct ModelOptions {
  NumericTypes types = {};
  std::int64_t micro_batch_size = 1;  // sequences
  Recompute recompute = Recompute::none;
  std::int64_t loss_chunk_tokens = 512;
  bool training = true;  // false: no memory for a backward pass
};

// Activation memory of a model, found by a dry run.
struct ActivationMemory {
  std::size_t stash_bytes = 0;
  std::size_t scratch_bytes = 0;
  std::vector<CategoryBytes> stash;  // at the peak, largest first
  std::vector<CategoryBytes> scratch;
  double matmul_flops = 0;  // of one micro-batch, recomputation included
};
// Needs no device. REQUIRES: config is resolved.
ActivationMemory measure_activations(const ModelConfig& config, const ModelOptions& options);

// Sums over a step, in one f64 tensor, so that one all-reduce gives them for the whole batch. The
// model adds token losses, regularisers and read-outs; the other slots are its caller's to set.
struct StepSums {
  enum Slot : std::int64_t {
    loss,          // Σ token losses
    gate_entropy,  // Σ (-H(p))
    gate_balance,  // Σ_sequences (mean p - ½)²
    targets,       // tokens that have a target (evaluation)
    bytes,         // of text that they stand for (evaluation)
    stop,          // ranks that were asked to stop
    save,          // ranks that were asked to save
    first_readout  // [L, num_readouts]
  };
};

class Model {
 public:
  // REQUIRES: config is resolved. Throws Error(configuration) where the memory is not to be had.
  Model(const ModelConfig& config, const ModelOptions& options, Device& device, Stream& stream);

  const ModelConfig& config() const { return config_; }
  ParameterStore& parameters() { return *parameters_; }
  const ParameterStore& parameters() const { return *parameters_; }
  const ActivationMemory& activation_memory() const { return memory_; }
  std::size_t stash_peak_bytes() const { return stash_.peak_bytes(); }
  const Stage& stage() const { return *stage_; }

  // To be called after parameter values were written from outside.
  void refresh_operands() { parameters_->refresh_operands(*ops_); }

  void zero_gradients();
  // gradients += ∂/∂parameters of loss_scale·Σ token losses + regularisers; sums += .
  // ids, targets: micro_batch_size·sequence_length tokens each.
  void forward_backward(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                        double loss_scale, RegularizerScales regularizers, bool readouts);
  // sums += the token losses (and read-outs); nothing else changes.
  void evaluate(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                bool readouts);
  // Logits [positions, V] of one sequence of at most sequence_length tokens, or of its last token
  // only ([1, V]). With a cache, `ids` go on behind the tokens that it holds, and join them.
  // Lies in memory that the next call reuses.
  Tensor logits(std::span<const std::int32_t> ids, bool last_only, KvCache* cache = nullptr);
  // An empty cache of this model, for at most `capacity` <= sequence_length tokens.
  KvCache make_cache(std::int64_t capacity) const;

  // [first_readout + L·num_readouts] f64, on the device.
  Tensor sums() const { return sums_; }
  void zero_sums() { ops_->fill(sums_, 0); }
  void set_sum(StepSums::Slot slot, double value) {
    ops_->fill(sums_.slice(slot, slot + 1), value);
  }

 private:
  Context context(AttentionShape shape, bool readouts);
  Tensor upload(std::span<const std::int32_t> host, std::int64_t begin);

  ModelConfig config_;
  ModelOptions options_;
  Device& device_;
  Stream& stream_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<ParameterStore> parameters_;
  std::unique_ptr<Stage> stage_;
  ActivationMemory memory_;
  Arena stash_;
  Arena scratch_;
  Buffer logits_;
  Buffer constants_;  // RoPE tables, token ids, token losses, sums
  RopeTables rope_;
  Tensor tokens_;  // i32: ids, then targets
  Tensor loss_T_;
  Tensor sums_;
};

}  // namespace dualpath
