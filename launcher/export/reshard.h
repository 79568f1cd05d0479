// A checkpoint in the files of another number of ranks.
#pragma once

#include <filesystem>

#include "data/checkpoints/checkpoint_store.h"

namespace dualpath {

// Writes the whole state to `folder`, a new checkpoint of `ranks` shards of nearly equal size: each
// has an equal part of every tensor. Throws Error(checkpoint).
void reshard_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                        int ranks);

}  // namespace dualpath
