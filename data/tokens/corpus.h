// A corpus: a folder of token shards and corpus.yaml, which lists them. It reads as one long
// sequence of tokens, shard after shard. All errors are Error(data).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/tokens/corpus_content.h"
#include "data/tokens/corpus_manifest.h"
#include "data/tokens/token_shard.h"

namespace dualpath {

// Writes a corpus. A shard is closed when the next document, or the first part of it that is given,
// would take it beyond `shard_tokens`; a document never spans shards. corpus.yaml comes last: a
// folder without it is unfinished, and the shards that such a folder holds are removed. A finished
// corpus is never overwritten.
class CorpusWriter {
 public:
  CorpusWriter(std::string folder, CorpusInfo info, std::uint64_t shard_tokens);

  // More tokens of the document under way; its end, for which end_of_document is appended.
  // text_bytes: length of the text that the tokens stand for.
  void add_tokens(std::span<const std::uint32_t> tokens, std::uint64_t text_bytes = 0);
  void end_document();
  // A whole document.
  void add_document(std::span<const std::uint32_t> tokens, std::uint64_t text_bytes = 0);
  std::uint64_t num_tokens() const;
  // files: names of files in the folder, its tokenizer's, whose hashes corpus.yaml is to hold.
  // REQUIRES: no document under way.
  CorpusManifest finish(std::span<const std::string> files = {});

 private:
  void close_shard();
  std::string folder_;
  std::uint64_t shard_tokens_;
  CorpusManifest manifest_;  // of the closed shards
  std::unique_ptr<TokenShardWriter> shard_;
  bool within_document_ = false;
};

// The index'th shard that a corpus's manifest lists. Throws where it is missing, has another size
// or says other than the manifest.
TokenShard open_listed_shard(const std::string& folder, const CorpusManifest& manifest,
                             std::size_t index);
// Throws where a file that is no shard is not as it was written.
void verify_listed_file(const std::string& folder, const CorpusManifest::File& file);

// An open corpus. Const functions may be called from any thread.
class Corpus {
 public:
  // Opens every shard: open_listed_shard().
  static Corpus open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const CorpusManifest& manifest() const { return manifest_; }
  std::uint64_t num_tokens() const { return manifest_.num_tokens; }
  std::span<const TokenShard> shards() const { return shards_; }
  const CorpusContent& content() const { return content_; }
  // Whether the tokens are those of `earlier`, or those and more, in the same shards.
  bool begins_with(const CorpusContent& earlier) const;

  // out[i] = token begin + i. REQUIRES: begin + out.size() <= num_tokens().
  void read(std::uint64_t begin, std::span<std::int32_t> out) const;

 private:
  Corpus(std::string folder, CorpusManifest manifest);
  std::string folder_;
  CorpusManifest manifest_;
  CorpusContent content_;
  std::vector<TokenShard> shards_;
  std::vector<std::uint64_t> shard_begin_;  // token position of each shard, then of the end
};

}  // namespace dualpath
