// Checkpoints for those who use their tensors one by one, and never have a model in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "data/checkpoints/checkpoint_store.h"

namespace dualpath {

struct SourceCheckpoint {
  std::filesystem::path run;  // the run's folder; it need not be there
  Checkpoint checkpoint;
};
// What a user names, a run's folder (its newest whole checkpoint) or a checkpoint's. Every byte is
// as it was saved. Throws Error(checkpoint).
SourceCheckpoint open_source(const std::filesystem::path& path);

inline constexpr const char* parameter_prefix = "parameters/";

// Elements [begin, end) of a tensor, some MiB at a time, in ascending order; first: of the piece,
// counted from begin.
using ElementReader =
    std::function<void(std::int64_t first, std::int64_t count, const void* elements)>;
void read_elements(const Checkpoint& checkpoint, const CheckpointTensor& tensor, std::int64_t begin,
                   std::int64_t end, const ElementReader& reader);

}  // namespace dualpath
