// The folder that holds a run's checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"

namespace dualpath {

struct CheckpointEntry {
  std::filesystem::path folder;
  std::int64_t step;                           // -1 when neither name nor manifest tells it
  std::optional<CheckpointManifest> manifest;  // present when it looks whole
  std::string problem;                         // otherwise what is wrong
  bool looks_whole() const { return manifest.has_value(); }
};

// Looks at the manifest, the list of shards and their sizes, not at their content. A checkpoint may
// have been copied to another name than its step's.
CheckpointEntry look_at_checkpoint(const std::filesystem::path& folder);

// The steps of all checkpoints in the folder, ascending, as their names tell; none when there is no
// such folder. Opens nothing.
std::vector<std::int64_t> list_steps(const std::filesystem::path& folder);

// A look at all checkpoints in the folder, ascending in step; none when there is no such folder.
// One that a run that is training removes meanwhile is left out.
std::vector<CheckpointEntry> list_checkpoints(const std::filesystem::path& folder);

// What a save or removal that was killed, or that is going on now, has left in the folder.
std::vector<std::filesystem::path> list_unfinished(const std::filesystem::path& folder);

// Removes what killed saves and removals left. REQUIRES: nobody is saving to this folder.
void remove_unfinished(const std::filesystem::path& folder);

// The newest checkpoint whose every byte is as it was saved; none when there are no checkpoints.
// Each damaged one that is passed over is told to `report`, a line each, on all ranks. Throws
// Error(checkpoint) when there are checkpoints but all are damaged: a run must not start anew then.
// One that is removed while it is read, by a run that is training, is no damage: the newest is
// looked for again. Opens none that is older than the one it returns. Collective: the ranks share
// the reading and return the same.
std::optional<Checkpoint> newest_whole(const std::filesystem::path& folder,
                                       const std::function<void(const std::string&)>& report,
                                       Communicator& ranks);

// Removes all checkpoints older than the newest `keep_last` (at least one) that look whole, except
// steps that are multiples of `keep_every` (0: no exceptions). Checkpoints of steps after
// `saved_step`, the one saved last, neither count nor go: the run has passed them over. Returns the
// steps removed. Opens none that is older than those that count. Where it is killed, no half
// checkpoint is left under a checkpoint's name. REQUIRES: nobody is saving here.
std::vector<std::int64_t> prune_checkpoints(const std::filesystem::path& folder,
                                            std::int64_t saved_step, std::int64_t keep_last,
                                            std::int64_t keep_every);

}  // namespace dualpath
