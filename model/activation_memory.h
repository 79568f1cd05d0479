// What a model will take, found without one: by a dry run of its passes.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "model/model_options.h"
#include "model/pass_costs.h"

namespace dualpath {

// Activation memory of a model, found by a dry run.
struct ActivationMemory {
  // By stage, of one micro-batch: from forward to backward, and on to backward_weights.
  std::vector<std::size_t> slot_bytes;
  std::vector<std::size_t> deferred_bytes;
  std::size_t stash_bytes = 0;  // of all that are held at once
  std::size_t scratch_bytes = 0;
  std::size_t constant_bytes = 0;    // tables, tokens, sums, messages between stages
  std::vector<CategoryBytes> stash;  // at the peak, largest first
  std::vector<CategoryBytes> scratch;
  std::vector<PassCosts> passes;  // by stage
};
// Needs no device. `ops` compute nothing and are issued exactly what the passes issue, with every
// regulariser on; spent() tells what they have cost so far, in any unit.
ActivationMemory measure_activations(const ResolvedModelConfig& config, const ModelOptions& options,
                                     Ops& ops, const std::function<double()>& spent);
// In FLOPs of matrix products and attention.
ActivationMemory measure_activations(const ResolvedModelConfig& config,
                                     const ModelOptions& options);
// The parameters that a rank holds, without memory.
ParameterStore lay_out_parameters(const ResolvedModelConfig& config, const ModelOptions& options);

}  // namespace dualpath
