// What tells whether a corpus is the one it was, wherever it lies and whatever it is called.
#pragma once

#include <cstdint>

namespace dualpath {

// The content of a corpus at some time: its shards' token checksums.
struct CorpusContent {
  std::uint64_t num_tokens = 0;
  std::uint64_t num_shards = 0;
  std::uint64_t digest = 0;  // XXH3 of tokens and checksums of all shards but the last
  std::uint64_t last_shard_tokens = 0;
  std::uint64_t last_shard_checksum = 0;
  bool operator==(const CorpusContent&) const = default;
};

}  // namespace dualpath
