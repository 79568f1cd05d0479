// Saving and loading checkpoints. A checkpoint is a folder:
//
//   checkpoints/step-00000100/
//     shard-00000-of-00002.h5   the slices that rank 0 owned: /TENSOR/BEGIN-END, flat elements, and
//     shard-00001-of-00002.h5   their index with hashes, /index_of_slices (checkpoint_index.h)
//     shards.txt                the shards' sizes and hashes
//     manifest.yaml             the state of the run, and the hash of shards.txt
//
// It is written under a temporary name and renamed when all of it is on the disk and has been read
// back: what was found there is what was to be written. So a folder with its final name was
// complete. Any layout can load what any other saved. All failures are Error(checkpoint).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/tensor_slice.h"
#include "core/device/slice_access.h"
#include "data/checkpoints/checkpoint_index.h"
#include "data/checkpoints/checkpoint_manifest.h"
#include "parallel/communicator.h"

namespace dualpath {

// Saves the slices `local` of all ranks as FOLDER/step-N, N = manifest.step, in place of one that
// is there already. Collective, blocking; `manifest` counts on rank 0 only. The slices of all ranks
// must hold each element of each tensor exactly once. When any rank fails, all ranks throw the
// first failing rank's message, and the folder is as before, or holds the
// new one where only its last flush failed. REQUIRES: nobody else saves to this
// folder (RunLock); left-overs of killed saves are removed first.
void save_checkpoint(const std::filesystem::path& folder, CheckpointManifest manifest,
                     std::span<const TensorSlice> local, Communicator& ranks,
                     const SliceAccess& memory = {});

// Hands the elements of a slice to the reader, pieces in ascending order. The slice's `data` is not
// looked at.
using SliceSource =
    std::function<void(const TensorSlice& slice, const SliceAccess::Reader& reader)>;

// Writes a whole checkpoint from one process, shards[i] as rank i of a job would have: no more of
// it is in memory than the pieces that the source hands out. `folder` is the checkpoint's own: it
// exists, is empty, and is the caller's to publish.
void write_checkpoint(const std::filesystem::path& folder, CheckpointManifest manifest,
                      std::span<const std::vector<TensorSlice>> shards, const SliceSource& source);

// Device, inode and time of change, nanoseconds: tells a folder from another one of its name. none:
// there is nothing of that name; unknown_folder: the disk does not tell.
using FolderIdentity = std::optional<std::array<std::uint64_t, 3>>;
inline constexpr FolderIdentity unknown_folder = std::array<std::uint64_t, 3>{};
FolderIdentity identity_of(const std::filesystem::path& folder);
// Whether the folder has been removed or replaced since; false where the disk does not tell.
bool is_gone(const std::filesystem::path& folder, const FolderIdentity& before);

struct Checkpoint {
  std::filesystem::path folder;
  FolderIdentity identity;  // before anything of it was read
  CheckpointManifest manifest;
  std::vector<CheckpointShard> shards;    // by rank
  std::vector<CheckpointTensor> tensors;  // ascending in name

  // nullptr when there is no such tensor.
  const CheckpointTensor* find(std::string_view name) const;
  // Whether it has been removed or replaced meanwhile: what could not be read was not damaged then.
  bool is_gone() const { return dualpath::is_gone(folder, identity); }
};

// Manifest and list of shards, all shards with their sizes and indexes; not their elements.
Checkpoint open_checkpoint(const std::filesystem::path& folder);

// Every byte as it was saved. The error tells everything that is wrong, a line each. Collective:
// the ranks share the reading and return or throw the same.
Checkpoint open_whole_checkpoint(const std::filesystem::path& folder, Communicator& ranks);

// The manifest alone, where the shards that belong to it are there with their sizes.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

// Fills the memory of every wanted slice, reading from the shards only what is wanted. Local to the
// calling rank.
void load_slices(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted,
                 const SliceAccess& memory = {});

// What open_whole_checkpoint tells; empty when the checkpoint is whole. Collective.
std::vector<std::string> verify_checkpoint(const std::filesystem::path& folder,
                                           Communicator& ranks);

}  // namespace dualpath
