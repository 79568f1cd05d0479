#include "data/tokens/corpus.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "data/files/file_io.h"
#include "data/tokens/corpus_manifest.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

constexpr const char* shard_prefix = "tokens-";

// The content of these shards, at least one, where the last one holds `last_tokens` tokens with
// `last_checksum` only.
CorpusContent content_of(std::span<const CorpusManifest::Shard> shards, std::uint64_t last_tokens,
                         std::uint64_t last_checksum) {
  Checksum digest;
  CorpusContent content;
  for (const CorpusManifest::Shard& shard : shards.first(shards.size() - 1)) {
    const std::uint64_t numbers[] = {shard.num_tokens, shard.token_checksum};
    digest.add(std::as_bytes(std::span(numbers)));
    content.num_tokens += shard.num_tokens;
  }
  content.num_tokens += last_tokens;
  content.num_shards = shards.size();
  content.digest = digest.value();
  content.last_shard_tokens = last_tokens;
  content.last_shard_checksum = last_checksum;
  return content;
}

void remove_unfinished_shards(const std::string& folder) {
  for (const std::string& name : names_in(folder, ExitCode::data)) {
    if (name.starts_with(shard_prefix)) remove_tree(fs::path(folder) / name, ExitCode::data);
  }
}

}  // namespace

CorpusWriter::CorpusWriter(std::string folder, CorpusInfo info, std::uint64_t shard_tokens)
    : folder_(std::move(folder)), shard_tokens_(shard_tokens) {
  CHECK_AS(ExitCode::data,
           info.end_of_document >= -1 &&
               info.end_of_document < static_cast<std::int64_t>(info.vocab_size),
           "{}: end_of_document {} is outside the vocabulary of {}", folder_, info.end_of_document,
           info.vocab_size);
  CHECK_AS(ExitCode::data, !path_exists(corpus_manifest_path(folder_), ExitCode::data),
           "{} already holds a corpus; remove it, or choose another folder", folder_);
  make_folder(folder_, ExitCode::data);
  remove_unfinished_shards(folder_);
  manifest_.info = std::move(info);
}

void CorpusWriter::add_tokens(std::span<const std::uint32_t> tokens, std::uint64_t text_bytes) {
  const std::size_t added = tokens.size() + (manifest_.info.end_of_document >= 0 ? 1 : 0);
  if (!within_document_ && shard_ && shard_->num_tokens() + added > shard_tokens_) close_shard();
  if (!shard_) {
    const std::string name = fmt::format("{}{:05}.h5", shard_prefix, manifest_.shards.size());
    shard_ = std::make_unique<TokenShardWriter>(
        fs::path(folder_) / name, manifest_.info.tokenizer_hash, manifest_.info.vocab_size);
  }
  shard_->add_tokens(tokens);
  manifest_.text_bytes += text_bytes;
  within_document_ = true;
}

void CorpusWriter::end_document() {
  CHECK(within_document_, "{}: no document to end", folder_);
  if (manifest_.info.end_of_document >= 0) {
    const auto end = static_cast<std::uint32_t>(manifest_.info.end_of_document);
    shard_->add_tokens({&end, 1});
  }
  shard_->end_document();
  within_document_ = false;
}

void CorpusWriter::add_document(std::span<const std::uint32_t> tokens, std::uint64_t text_bytes) {
  add_tokens(tokens, text_bytes);
  end_document();
}

std::uint64_t CorpusWriter::num_tokens() const {
  return manifest_.num_tokens + (shard_ ? shard_->num_tokens() : 0);
}

void CorpusWriter::close_shard() {
  const TokenShardInfo info = shard_->finish();
  const fs::path path = shard_->path();
  shard_.reset();
  manifest_.num_tokens += info.num_tokens;
  manifest_.num_documents += info.num_documents;
  manifest_.shards.push_back({.name = path.filename(),
                              .num_tokens = info.num_tokens,
                              .num_documents = info.num_documents,
                              .bytes = static_cast<std::uint64_t>(file_bytes(path, ExitCode::data)),
                              .token_checksum = info.token_checksum});
}

CorpusManifest CorpusWriter::finish(std::span<const std::string> files) {
  CHECK(!within_document_, "{}: the last document has no end", folder_);
  if (shard_) close_shard();
  CHECK_AS(ExitCode::data, manifest_.num_tokens > 0, "{}: no tokens at all", folder_);
  for (const std::string& name : files) {
    const FileDigest digest = digest_file(fs::path(folder_) / name, ExitCode::data);
    manifest_.files.push_back({name, static_cast<std::uint64_t>(digest.bytes), digest.xxh3});
  }
  write_corpus_manifest(folder_, manifest_);
  return manifest_;
}

Corpus::Corpus(std::string folder, CorpusManifest manifest)
    : folder_(std::move(folder)),
      manifest_(std::move(manifest)),
      content_(content_of(manifest_.shards, manifest_.shards.back().num_tokens,
                          manifest_.shards.back().token_checksum)),
      shard_begin_{0} {}

TokenShard open_listed_shard(const std::string& folder, const CorpusManifest& manifest,
                             std::size_t index) {
  const CorpusManifest::Shard& listed = manifest.shards[index];
  const std::string path = fs::path(folder) / listed.name;
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  CHECK_AS(ExitCode::data, !error, "{}: listed in {}: {}", path, corpus_manifest_path(folder),
           error.message());
  CHECK_AS(ExitCode::data, bytes == listed.bytes, "{}: {} bytes, {} says {}", path, bytes,
           corpus_manifest_path(folder), listed.bytes);
  TokenShard shard = TokenShard::open(path);
  const auto agree = [&](const char* what, const auto& has, const auto& expected) {
    CHECK_AS(ExitCode::data, has == expected, "{}: {} is {}, {} says {}", path, what, has,
             corpus_manifest_path(folder), expected);
  };
  agree("num_tokens", shard.info().num_tokens, listed.num_tokens);
  agree("num_documents", shard.info().num_documents, listed.num_documents);
  agree("token_checksum", shard.info().token_checksum, listed.token_checksum);
  agree("vocab_size", shard.info().vocab_size, manifest.info.vocab_size);
  agree("tokenizer_hash", shard.info().tokenizer_hash, manifest.info.tokenizer_hash);
  return shard;
}

void verify_listed_file(const std::string& folder, const CorpusManifest::File& file) {
  const std::string path = fs::path(folder) / file.name;
  const FileDigest recorded{static_cast<std::int64_t>(file.bytes), file.xxh3};
  CHECK_AS(ExitCode::data, digest_file(path, ExitCode::data) == recorded,
           "{}: its content has changed since it was written", path);
}

Corpus Corpus::open(const std::string& folder) {
  Corpus corpus(folder, read_corpus_manifest(folder));
  for (std::size_t i = 0; i < corpus.manifest_.shards.size(); ++i) {
    corpus.shards_.push_back(open_listed_shard(folder, corpus.manifest_, i));
    corpus.shard_begin_.push_back(corpus.shard_begin_.back() +
                                  corpus.manifest_.shards[i].num_tokens);
  }
  return corpus;
}

bool Corpus::begins_with(const CorpusContent& earlier) const {
  if (earlier.num_shards == 0 || earlier.num_shards > shards_.size()) return false;
  const TokenShard& last = shards_[earlier.num_shards - 1];
  if (last.info().num_tokens < earlier.last_shard_tokens) return false;
  const auto first_shards = std::span(manifest_.shards).first(earlier.num_shards);
  return earlier == content_of(first_shards, earlier.last_shard_tokens,
                               last.token_checksum_of_first(earlier.last_shard_tokens));
}

void Corpus::read(std::uint64_t begin, std::span<std::int32_t> out) const {
  CHECK(begin <= num_tokens() && out.size() <= num_tokens() - begin, "{}: tokens [{}, {}) of {}",
        folder_, begin, begin + out.size(), num_tokens());
  const auto next = std::upper_bound(shard_begin_.begin(), shard_begin_.end(), begin);
  for (auto shard = static_cast<std::size_t>(next - shard_begin_.begin()) - 1; !out.empty();
       ++shard) {
    const std::uint64_t count =
        std::min<std::uint64_t>(out.size(), shard_begin_[shard + 1] - begin);
    shards_[shard].read(begin - shard_begin_[shard], out.first(count));
    out = out.subspan(count);
    begin += count;
  }
}

}  // namespace dualpath
