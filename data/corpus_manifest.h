// corpus.yaml: what a corpus is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dualpath {

struct CorpusInfo {
  std::string tokenizer_hash;  // two corpora go together if theirs are equal
  std::uint64_t vocab_size = 0;
  std::int64_t end_of_document = -1;  // the token that ends every document; -1: there is none
};

// The content of corpus.yaml.
struct CorpusManifest {
  struct Shard {
    std::string name;  // file name within the folder
    std::uint64_t num_tokens = 0;
    std::uint64_t num_documents = 0;
    std::uint64_t bytes = 0;  // of the file
    std::uint64_t token_checksum = 0;
  };
  CorpusInfo info;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_documents = 0;
  std::uint64_t text_bytes = 0;  // UTF-8 bytes that the tokens stand for; 0: unknown
  std::vector<Shard> shards;
};

std::string corpus_manifest_path(const std::string& folder);
// Publishes folder/corpus.yaml.
void write_corpus_manifest(const std::string& folder, const CorpusManifest& manifest);
// Checks the version, that every key is there and that the totals are the shards' sums. The shards
// themselves are not looked at.
CorpusManifest read_corpus_manifest(const std::string& folder);

}  // namespace dualpath
