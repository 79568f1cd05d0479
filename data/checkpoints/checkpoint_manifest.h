// The manifest of a checkpoint: what state of a run it is, and the hash that the list of its shards
// must have (checkpoint_index.h). Small, whatever the number of ranks. Written last, so a
// checkpoint without one is unfinished.
//
// Format 2. Later versions of the program may add keys, which this one passes over; none is ever
// removed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/base/error.h"

namespace dualpath {

// Tells whether `shards.txt` is the one that was written.
struct ShardSummary {
  std::int64_t count = 0;  // of shards
  std::int64_t bytes = 0;  // of all of them
  std::uint64_t xxh3 = 0;  // of the list's text
  bool operator==(const ShardSummary&) const = default;
};

// The checkpoint is whole, but of a format that this program does not read.
class OtherFormat : public Error {
 public:
  using Error::Error;
};

struct CheckpointManifest {
  static constexpr int format_version = 2;

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

  ShardSummary shards;  // filled in by save_checkpoint

  bool operator==(const CheckpointManifest&) const = default;
};

// YAML; the last line is a hash of all before it, so that any change to the text is noticed.
std::string print_manifest(const CheckpointManifest& manifest);
// Throws Error(checkpoint) that names `source` where the text is damaged or of another format
// version.
CheckpointManifest parse_manifest(const std::string& text, const std::string& source);

}  // namespace dualpath
