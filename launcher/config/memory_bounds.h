// Bounds on memory that no run can exceed, whatever the machine.
#pragma once

#include "data/tokens/data_config.h"
#include "launcher/config/train_config.h"
#include "model/config.h"

namespace dualpath {

// Adds a problem where sizes that are possible each by itself make a run together that no machine
// can hold, so that planning it could not even count its bytes. REQUIRES: the model can be
// resolved.
void validate_memory(const ModelConfig& config, const TrainConfig& train, const DataConfig& data,
                     ConfigProblems& problems);

}  // namespace dualpath
