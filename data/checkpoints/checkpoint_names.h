// How the parts of a checkpoint are called on disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dualpath {

inline constexpr const char* manifest_name = "manifest.yaml";
inline constexpr const char* shards_name = "shards.txt";
inline constexpr const char* index_name = "index_of_slices";  // the dataset in a shard

std::string checkpoint_name(std::int64_t step);                     // step-00000100
std::optional<std::int64_t> step_of_name(const std::string& name);  // the inverse
std::string shard_name(int rank, int num_ranks);                    // shard-00003-of-00008.h5
// The dataset of elements [begin, end) of a tensor, in its shard.
std::string dataset_name(const std::string& tensor, std::int64_t begin, std::int64_t end);

// Names in a folder of checkpoints that are not checkpoints: one being written or removed, and
// one about to be replaced by a new save of the same step.
inline constexpr const char* temporary_prefix = ".tmp-";
inline constexpr const char* replaced_prefix = ".old-";

}  // namespace dualpath
