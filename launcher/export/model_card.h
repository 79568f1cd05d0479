// README.md of an exported model: what the run's folder tells of it, and nothing else.
#pragma once

#include <string>

#include "data/text/tokenizer.h"
#include "launcher/export/checkpoint_reader.h"
#include "model/config.h"

namespace dualpath {

// tokenizer: null where the run has none. REQUIRES: the model is resolved.
std::string model_card(const SourceCheckpoint& source, const ResolvedModelConfig& model,
                       const Tokenizer* tokenizer);

}  // namespace dualpath
