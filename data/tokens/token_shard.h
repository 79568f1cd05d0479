// Token shards, format 2: an HDF5 file with three contiguous 1-D datasets,
//   tokens            uint16 (vocabularies up to 65536) or uint32, the documents one after another
//   document_offsets  uint64, num_documents + 1: document d is tokens [offsets[d], offsets[d+1])
//   block_checksums   uint64: XXH3-64 of every 16 KiB of the tokens' bytes, the last block shorter
// and root attributes: format_version, tokenizer_hash, vocab_size, num_tokens, num_documents,
// token_checksum (XXH3-64 of the bytes of block_checksums), offset_checksum (XXH3-64 of the bytes
// of document_offsets). All checksums are of what was to be written. All errors are Error(data).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/files/file_io.h"

namespace dualpath {

// Bytes of tokens under one checksum. A block holds a whole number of tokens.
inline constexpr std::uint64_t token_block_bytes = 16 << 10;

struct TokenShardInfo {
  std::string tokenizer_hash;
  std::uint64_t vocab_size = 0;  // ids are in [0, vocab_size)
  std::uint64_t num_tokens = 0;
  std::uint64_t num_documents = 0;
  std::uint64_t token_checksum = 0;
  std::uint64_t offset_checksum = 0;
  bool operator==(const TokenShardInfo&) const = default;
};

// Writes one shard. Tokens wait in an unnamed file beside it until their number is known; memory
// holds 4 MiB of them, the block checksums and the document offsets.
class TokenShardWriter {
 public:
  TokenShardWriter(std::string path, std::string tokenizer_hash, std::uint64_t vocab_size);
  ~TokenShardWriter();  // without finish() nothing remains

  const std::string& path() const { return path_; }
  // More tokens of the document under way, and its end.
  void add_tokens(std::span<const std::uint32_t> tokens);
  void end_document();
  void add_document(std::span<const std::uint32_t> tokens);
  std::uint64_t num_tokens() const { return info_.num_tokens; }
  // Completes the file, flushes it to disk, reads it back, and gives it its name. Throws where what
  // is read is not what was meant. REQUIRES: no document under way.
  TokenShardInfo finish();

 private:
  class Spool;
  void prove(const std::string& temporary) const;
  std::string path_;
  TokenShardInfo info_;
  std::unique_ptr<Spool> spool_;
  std::vector<std::uint64_t> document_offsets_;
};

// An open shard, mapped into memory. Const functions may be called from any thread.
class TokenShard {
 public:
  // Checks version, sizes and that the file is long enough, not the tokens themselves.
  static TokenShard open(const std::string& path);
  TokenShard(TokenShard&&) noexcept;
  ~TokenShard();

  const std::string& path() const { return path_; }
  const TokenShardInfo& info() const { return info_; }
  std::uint64_t file_bytes() const { return file_.bytes().size(); }
  std::size_t bytes_per_token() const { return bytes_per_token_; }

  // out[i] = token begin + i. Blocks that are read for the first time are held against their
  // checksums. REQUIRES: begin + out.size() <= num_tokens.
  void read(std::uint64_t begin, std::span<std::int32_t> out) const;
  // Document d of the shard ends where document d+1 begins. REQUIRES: index <= num_documents.
  std::uint64_t document_offset(std::uint64_t index) const;

  // The token_checksum of a shard of this width that held the first num_tokens tokens only: tells
  // whether this shard has grown out of that one. REQUIRES: num_tokens <= info().num_tokens.
  std::uint64_t token_checksum_of_first(std::uint64_t num_tokens) const;

  // Reads everything: all checksums, the order of the offsets, the range of the ids.
  void verify() const;

 private:
  class CheckedBlocks;
  TokenShard(std::string path, TokenShardInfo info, MappedFile file);
  std::span<const std::byte> block(std::uint64_t index) const;
  std::uint64_t recorded_checksum(std::uint64_t block) const;
  void check_block_checksums() const;
  void check_block(std::uint64_t index) const;
  void check_blocks(std::uint64_t first_byte, std::uint64_t end_byte) const;

  std::string path_;
  TokenShardInfo info_;
  MappedFile file_;
  std::size_t bytes_per_token_ = 0;
  std::span<const std::byte> tokens_;  // these three within file_, of any alignment
  std::span<const std::byte> offsets_;
  std::span<const std::byte> block_checksums_;
  std::unique_ptr<CheckedBlocks> checked_;
};

}  // namespace dualpath
