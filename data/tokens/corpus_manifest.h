// corpus.yaml, format 2: what a corpus is made of. Its last line is a hash of all before it, so
// that any change to the text is noticed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dualpath {

struct CorpusInfo {
  std::string tokenizer_hash;  // two corpora go together if theirs are equal
  std::uint64_t vocab_size = 0;
  std::int64_t end_of_document = -1;  // the token that ends every document; -1: there is none
  bool operator==(const CorpusInfo&) const = default;
};

// The content of corpus.yaml.
struct CorpusManifest {
  struct Shard {
    std::string name;  // file name within the folder
    std::uint64_t num_tokens = 0;
    std::uint64_t num_documents = 0;
    std::uint64_t bytes = 0;  // of the file
    std::uint64_t token_checksum = 0;
    bool operator==(const Shard&) const = default;
  };
  // A file of the folder that is no shard: those of the tokenizer.
  struct File {
    std::string name;
    std::uint64_t bytes = 0;
    std::uint64_t xxh3 = 0;
    bool operator==(const File&) const = default;
  };
  CorpusInfo info;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_documents = 0;
  std::uint64_t text_bytes = 0;  // UTF-8 bytes that the tokens stand for; 0: unknown
  std::vector<Shard> shards;
  std::vector<File> files;
  bool operator==(const CorpusManifest&) const = default;
};

std::string corpus_manifest_path(const std::string& folder);
// Publishes folder/corpus.yaml and reads it back.
void write_corpus_manifest(const std::string& folder, const CorpusManifest& manifest);
// Checks the version, that the text is as it was written, that every key is there once, and that
// the numbers go together. Shards and files themselves are not looked at. Throws Error(data).
CorpusManifest read_corpus_manifest(const std::string& folder);

}  // namespace dualpath
