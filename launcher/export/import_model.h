// A folder that `dualpath checkpoint export` wrote, as the checkpoint of a new run.
#pragma once

#include <filesystem>

#include "data/checkpoints/checkpoint_manifest.h"

namespace dualpath {

// Writes a new run folder with the tokenizer and a checkpoint of step 0 that has the weights bit by
// bit and no moments. Throws Error(checkpoint), or Error(data) for the tokenizer.
void import_model(const std::filesystem::path& folder, const std::filesystem::path& run);

// Whether a checkpoint is one that import_model() wrote: it has no moments to go on with.
bool is_imported(const CheckpointManifest& manifest);

}  // namespace dualpath
