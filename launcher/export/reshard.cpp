#include "launcher/export/reshard.h"

#include "data/checkpoints/checkpoint_names.h"
#include "launcher/export/checkpoint_reader.h"
#include "launcher/export/new_folder.h"

namespace dualpath {

namespace {

// Shard i has elements [n·i/ranks, n·(i+1)/ranks) of each tensor.
std::vector<std::vector<TensorSlice>> cut_evenly(const Checkpoint& checkpoint, int ranks) {
  std::vector<std::vector<TensorSlice>> shards(static_cast<std::size_t>(ranks));
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    const std::int64_t numel = tensor.global_shape.numel();
    for (std::int64_t i = 0; i < ranks; ++i) {
      shards[static_cast<std::size_t>(i)].push_back({tensor.name, tensor.dtype, tensor.global_shape,
                                                     numel * i / ranks, numel * (i + 1) / ranks,
                                                     nullptr});
    }
  }
  return shards;
}

}  // namespace

void reshard_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                        int ranks) {
  NewFolder target(folder);
  const std::int64_t step = checkpoint.manifest.step;
  CHECK_AS(ExitCode::checkpoint,
           step_of_name(target.name().filename().string()).value_or(step) == step,
           "{}: the checkpoint is of step {}; give its folder that name, {}, or any that names no "
           "step",
           folder.string(), step, checkpoint_name(step));
  CheckpointManifest manifest = checkpoint.manifest;
  manifest.layout = {{"ranks", std::to_string(ranks)}};
  write_checkpoint(target.partial(), manifest, cut_evenly(checkpoint, ranks),
                   [&](const TensorSlice& slice, const SliceAccess::Reader& reader) {
                     read_elements(checkpoint, *checkpoint.find(slice.name), slice.begin, slice.end,
                                   reader);
                   });
  target.publish();
}

}  // namespace dualpath
