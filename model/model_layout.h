// What a Model and a dry run of it (activation_memory.h) have alike: stages, tensors, and the
// kernels that the passes of a micro-batch issue.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "model/model_options.h"
#include "model/pass_costs.h"

namespace dualpath {

// Sums over a step, in one f64 tensor, so that one all-reduce gives them for the whole batch. The
// model adds token losses, regularisers and read-outs; the other slots are its caller's to set.
struct StepSums {
  enum Slot : std::int64_t {
    loss,              // Σ token losses
    gate_entropy,      // Σ (-H(p))
    gate_balance,      // Σ_sequences (mean p - ½)²
    targets,           // tokens that have a target (evaluation)
    bytes,             // of text that they stand for (evaluation)
    gradient_squares,  // of the reduced gradient, each element counted by one rank
    stop,              // ranks that were asked to stop
    save,              // ranks that were asked to save
    computing_ms,      // in the passes of a step
    pipeline_ms,       // that the passes took, for each stage
    first_readout      // [L, num_readouts]
  };
};

// The tensors that stay through all passes, T the tokens of a micro-batch.
struct ModelTensors {
  RopeTables rope;
  Tensor tokens;  // i32 [2·T]: ids, then targets
  Tensor loss_T;
  Tensor sums;             // f64 [first_readout + L·num_readouts]
  Tensor message_buffers;  // [ModelPart::message_buffers, T, D], for training

  Tensor ids() const { return tokens.slice(0, loss_T.numel()); }
  Tensor targets() const { return tokens.slice(loss_T.numel(), tokens.numel()); }
  // Parts of sums.
  Tensor token_losses() const { return sums.slice(StepSums::loss, StepSums::loss + 1); }
  Tensor gate_losses() const {
    return sums.slice(StepSums::gate_entropy, StepSums::gate_balance + 1);
  }
  Tensor readouts() const {  // [L, num_readouts]
    const std::int64_t count = sums.numel() - StepSums::first_readout;
    return sums.slice(StepSums::first_readout, sums.numel())
        .reshape({count / num_readouts, num_readouts});
  }
};
ModelTensors lay_out_tensors(const ResolvedModelConfig& config, const ModelOptions& options,
                             Arena& arena);

// Declares their parameters and seals the store.
std::deque<Stage> make_stages(const ResolvedModelConfig& config, const ModelOptions& options,
                              ParameterStore& parameters);
StoreOptions store_options(const ModelOptions& options);

AttentionShape attention_shape(const ModelConfig& config, std::int64_t sequences,
                               std::int64_t positions);

// x = the stage's output, x coming in as its input (but on the first stage); on the last stage also
// loss_T = the token losses.
void infer_with_loss(Stage& stage, const Context& ctx, Tensor loss_T, Tensor x_TD, Tensor ids_T,
                     Tensor targets_T);

// What the passes of a micro-batch on a stage issue, with every regulariser on. x: memory for what
// comes from the stage before. spent() tells what all so far has cost, in any unit.
PassCosts issue_training_passes(Stage& stage, const Context& ctx, const ModelTensors& tensors,
                                Tensor x_TD, const std::function<double()>& spent);

}  // namespace dualpath
