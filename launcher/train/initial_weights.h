// The weights that a new run takes from another's checkpoint (train.init_from).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/log.h"
#include "core/base/tensor_slice.h"
#include "data/checkpoints/checkpoint_store.h"
#include "launcher/config/run_config.h"

namespace dualpath {

// A checkpoint's own folder, or a run's, whose newest whole checkpoint is meant. Every byte is as
// it was saved. Throws Error(checkpoint). Collective.
Checkpoint find_initial_weights(const std::filesystem::path& folder, Log& log, Communicator& ranks);

// Throws Error(configuration) naming the fields by which `model` makes another function of the
// weights of `source`, but for those that `allowed` names ("model.rope_theta"). Returns what
// differs and is allowed. Both models are resolved.
std::vector<ConfigChange> check_same_function(const ModelConfig& source, const ModelConfig& model,
                                              std::span<const std::string> allowed);

// The checkpoint's weights that no rank wants. `wanted`: this rank's. Collective.
std::vector<std::string> weights_left_out(const Checkpoint& checkpoint,
                                          std::span<const TensorSlice> wanted, Communicator& ranks);

}  // namespace dualpath
