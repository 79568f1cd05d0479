// clang-format off
// Where the pieces of a checkpoint's tensors lie: the index at the end of each shard, and
// `shards.txt`, which lists the shards. Both are text, a line an entry, words with one space between:
//
//   index:       DTYPE SHAPE BEGIN END OFFSET XXH3 TENSOR
//   shards.txt:  FILE BYTES XXH3 INDEX_OFFSET INDEX_BYTES INDEX_XXH3
//
// for example "f32 301x64 0 6400 2048 0123456789abcdef parameters/head". The index ends with a line
// "xxh3 HASH" of all before it. Later versions may add words at the end of a line.
// clang-format on
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/tensor_slice.h"

namespace dualpath {

// A file with tensors' elements; the hashes are of its bytes.
struct CheckpointShard {
  std::string file;  // within the checkpoint's folder
  std::int64_t bytes = 0;
  std::uint64_t xxh3 = 0;
  std::int64_t index_offset = 0;
  std::int64_t index_bytes = 0;
  std::uint64_t index_xxh3 = 0;
  bool operator==(const CheckpointShard&) const = default;
};

std::string print_shards(std::span<const CheckpointShard> shards);
// Throws Error(checkpoint) that names `source` where the text is none that print_shards gives.
std::vector<CheckpointShard> parse_shards(const std::string& text, const std::string& source);

// An entry of a shard's index: elements [begin, end) of the flattened tensor, where they lie in the
// file, and the hash of their bytes as they were to be written.
struct IndexedSlice {
  std::string_view tensor;  // in the text that was parsed, or the slice that was saved
  DType dtype = DType::f32;
  Shape global_shape;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t offset = 0;
  std::uint64_t xxh3 = 0;
  std::int64_t bytes() const { return (end - begin) * static_cast<std::int64_t>(size_of(dtype)); }
  bool operator==(const IndexedSlice&) const = default;
};

std::string print_index(std::span<const IndexedSlice> slices);
// The text must outlive what is returned. Throws as parse_shards does.
std::vector<IndexedSlice> parse_index(std::string_view text, const std::string& source);

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

// The tensors that the slices of all shards make up, ascending in name: slices_of_shard[i] lie in
// shard i. Throws Error(checkpoint) where the slices of a tensor disagree in shape or dtype, or do
// not hold each of its elements exactly once. A slice of no elements tells that there is a tensor.
std::vector<CheckpointTensor> assemble_tensors(
    std::span<const std::vector<IndexedSlice>> slices_of_shard);

}  // namespace dualpath
