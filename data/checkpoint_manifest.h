// The manifest of a checkpoint: what it holds, where each piece lies, and how to tell whether it is
// whole. Written last, so a checkpoint without one is unfinished.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_slice.h"

namespace dualpath {

struct CheckpointShard {
  std::string file;  // within the checkpoint's folder
  std::int64_t bytes = 0;
  std::uint64_t xxh3 = 0;  // of the file's bytes
  bool operator==(const CheckpointShard&) const = default;
};

// Elements [begin, end) of the flattened tensor are stored in shards[shard].
struct StoredSlice {
  int shard = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const StoredSlice&) const = default;
};

struct CheckpointTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape global_shape;
  std::vector<StoredSlice> slices;  // ascending, without gap or overlap
  bool operator==(const CheckpointTensor&) const = default;
};

struct CheckpointManifest {
  static constexpr int format_version = 1;

  // Given by whoever saves. All text is UTF-8.
  std::int64_t step = 0;
  std::int64_t consumed_samples = 0;
  std::int64_t consumed_tokens = 0;
  std::string model;  // the model's configuration, YAML text
  std::string tokenizer_hash;
  std::map<std::string, std::string> layout;       // ranks, data, tensor, …
  std::map<std::string, std::string> environment;  // threads per rank, instruction set, versions
  std::map<std::string, std::string> state;        // whatever else must come back
  std::string data_state;                          // where the data stand: text for its writer

  // Filled in by save_checkpoint.
  std::vector<CheckpointShard> shards;    // by rank
  std::vector<CheckpointTensor> tensors;  // ascending in name

  bool operator==(const CheckpointManifest&) const = default;
  // nullptr when there is no such tensor.
  const CheckpointTensor* find(std::string_view name) const;
};

// The tensors that all ranks' slices make up: slices_of_rank[r] lie in shard r. Throws
// Error(checkpoint) where the slices of a tensor disagree in shape or dtype, or do not hold each
// of its elements exactly once.
std::vector<CheckpointTensor> assemble_tensors(
    std::span<const std::vector<TensorSlice>> slices_of_rank);

// YAML; the last line is a hash of all before it, so that any change to the text is noticed.
std::string print_manifest(const CheckpointManifest& manifest);
// Throws Error(checkpoint) that names `source` where the text is damaged, of another format
// version, or where its tensors are not covered exactly once.
CheckpointManifest parse_manifest(const std::string& text, const std::string& source);

}  // namespace dualpath
