// Saving and loading checkpoints. A checkpoint is a folder:
//
//   checkpoints/step-00000100/
//     shard-00000-of-00002.h5   the slices that rank 0 owned: /TENSOR/BEGIN-END, flat elements
//     shard-00001-of-00002.h5
//     manifest.yaml             what is where, sizes and hashes
//
// It is written under a temporary name and renamed when all of it is on the disk, so a folder with
// its final name was complete. Any layout can load what any other saved. All failures are
// Error(checkpoint).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/slice_access.h"
#include "core/tensor_slice.h"
#include "data/checkpoint_manifest.h"
#include "parallel/communicator.h"

namespace dualpath {

// Saves the slices `local` of all ranks as FOLDER/step-N, N = manifest.step, in place of one that
// is there already. Collective, blocking; `manifest` counts on rank 0 only. The slices of all ranks
// must hold each element of each tensor exactly once. When any rank fails, all ranks throw the
// first failing rank's message, and the folder is as before. REQUIRES: nobody else saves to this
// folder (RunLock); left-overs of killed saves are removed first.
void save_checkpoint(const std::filesystem::path& folder, CheckpointManifest manifest,
                     std::span<const TensorSlice> local, Communicator& ranks,
                     const SliceAccess& memory = {});

struct Checkpoint {
  std::filesystem::path folder;
  CheckpointManifest manifest;
};

// Reads the manifest; checks that all shards are there with their sizes, but not their content.
Checkpoint open_checkpoint(const std::filesystem::path& folder);

// Fills the memory of every wanted slice, reading from the shards only what is wanted. Local to the
// calling rank.
void load_slices(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted,
                 const SliceAccess& memory = {});

// Everything that is wrong with a checkpoint, its shards' hashes included; empty when it is whole.
// Collective: the ranks share the reading and all return the same.
std::vector<std::string> verify_checkpoint(const std::filesystem::path& folder,
                                           Communicator& ranks);

}  // namespace dualpath
