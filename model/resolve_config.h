// Which model configurations can be built, and what follows from what they leave open.
#pragma once

#include "model/config.h"

namespace dualpath {

// Adds what cannot be built, under keys that begin with "model.".
void validate(const ModelConfig& config, ConfigProblems& problems);

// Fills what was left open: kv_heads, FFN sizes from d_ffn or the budget. The result validates
// too, and resolves to itself. REQUIRES: validate found nothing.
ResolvedModelConfig resolve(ModelConfig config);

}  // namespace dualpath
