// What a rank holds of parameters and moments, as the named slices that checkpoints are made of.
#pragma once

#include <string>
#include <vector>

#include "core/base/tensor_slice.h"
#include "model/optimizer.h"
#include "model/parameter_store.h"

namespace dualpath {

// All values that this rank has: what weights are loaded into.
std::vector<TensorSlice> weights_of(const ParameterStore& parameters);

// The shards that this rank owns of values and of gradients.
std::vector<TensorSlice> owned_weights(const ParameterStore& parameters);
std::vector<TensorSlice> owned_gradients(const ParameterStore& parameters);

// Values and moments of the shards that this rank owns: together the ranks of a job own every
// element once. They are what a rank saves and, with ZeRO-1, what it loads.
std::vector<TensorSlice> owned_state(const ParameterStore& parameters, const AdamW& optimizer);

// Values and moments of all that this rank updates.
std::vector<TensorSlice> updated_state(const ParameterStore& parameters, const AdamW& optimizer);

}  // namespace dualpath
