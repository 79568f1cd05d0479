#include "launcher/evaluate/text_evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/random.h"
#include "data/text/encoder.h"
#include "data/text/text_reader.h"
#include "launcher/common/progress.h"
#include "launcher/common/text_format.h"

namespace dualpath {

TextCost& TextCost::operator+=(const TextCost& more) {
  tokens += more.tokens;
  bytes += more.bytes;
  nats += more.nats;
  return *this;
}

double TextCost::bits_per_byte() const {
  return nats / (std::numbers::ln2 * static_cast<double>(bytes));
}

double TextCost::perplexity() const {
  return std::exp(nats / static_cast<double>(tokens));
}

TextCost TextResult::total() const {
  TextCost total;
  for (const TextCost& document : documents) total += document;
  return total;
}

Percentiles bootstrap_interval(std::span<const TextCost> documents) {
  constexpr std::size_t resamples = 1000;
  const CounterRng rng(1, "bootstrap of documents");
  std::uint64_t drawn = 0;
  std::vector<double> values;
  for (std::size_t i = 0; i < resamples; ++i) {
    TextCost sample;
    for (std::size_t d = 0; d < documents.size(); ++d)
      sample += documents[rng.below(drawn++, documents.size())];
    values.push_back(sample.bits_per_byte());
  }
  std::ranges::sort(values);
  return {values[resamples / 40], values[resamples - 1 - resamples / 40]};
}

namespace {

// Scores documents, the windows of many at a time.
class DocumentScorer {
 public:
  explicit DocumentScorer(const EvaluatedModel& model)
      : model_(model),
        windows_(static_cast<std::int32_t>(model.tokenizer.end_of_text()), model.sequence_length) {}

  // More of the document under way, and its end.
  void append(std::span<const std::uint32_t> tokens, std::uint64_t bytes) {
    if (!is_within_document_) documents_.emplace_back();
    is_within_document_ = true;
    documents_.back() += {.tokens = tokens.size(), .bytes = bytes};
    windows_.append(tokens, waiting_);
    document_of_.resize(waiting_.size(), documents_.size() - 1);
    if (waiting_.size() >= max_waiting) score();
  }
  void end_document() {
    windows_.finish(waiting_);
    document_of_.resize(waiting_.size(), documents_.size() - 1);
    is_within_document_ = false;
  }
  std::vector<TextCost> finish() {
    score();
    return std::move(documents_);
  }

 private:
  static constexpr std::size_t max_waiting = 1024;

  void score() {
    const std::vector<TextScore> scores = model_.scorer.score(waiting_);
    for (std::size_t i = 0; i < scores.size(); ++i)
      documents_[document_of_[i]].nats -= scores[i].log_likelihood;
    waiting_.clear();
    document_of_.clear();
  }

  const EvaluatedModel& model_;
  RollingWindows windows_;
  std::vector<ScoredText> waiting_;
  std::vector<std::size_t> document_of_;  // of each window that waits
  std::vector<TextCost> documents_;
  bool is_within_document_ = false;
};

std::string tokens_done(std::uint64_t tokens, double seconds) {
  return fmt::format("{} tokens | {:.0f} tokens/s", grouped(tokens),
                     static_cast<double>(tokens) / seconds);
}

// Documents [offset d, offset d+1) of a shard, a part at a time.
class ShardReader {
 public:
  ShardReader(const Tokenizer& tokenizer, std::int64_t end_of_document)
      : tokenizer_(tokenizer), end_of_document_(end_of_document) {}

  void read_document(const TokenShard& shard, std::uint64_t index, DocumentScorer& scorer) {
    const std::uint64_t end = shard.document_offset(index + 1);
    for (std::uint64_t at = shard.document_offset(index); at < end;) {
      const std::uint64_t count = std::min<std::uint64_t>(end - at, part_tokens);
      part_.resize(count);
      shard.read(at, part_);
      at += count;
      if (at == end && part_.back() == end_of_document_) part_.pop_back();
      ids_.assign(part_.begin(), part_.end());
      if (!ids_.empty()) scorer.append(ids_, bytes_of_ids());
    }
    scorer.end_document();
  }

 private:
  static constexpr std::uint64_t part_tokens = 1 << 20;

  std::uint64_t bytes_of_ids() const {
    std::uint64_t bytes = 0;
    for (const std::uint32_t id : ids_) bytes += tokenizer_.tokens()[id].size();
    return bytes;
  }

  const Tokenizer& tokenizer_;
  std::int64_t end_of_document_;
  std::vector<std::int32_t> part_;
  std::vector<std::uint32_t> ids_;  // of part_, without the token that ends the document
};

}  // namespace

TextResult evaluate_text_files(const EvaluatedModel& model, const std::string& path,
                               const std::string& field) {
  const TextFiles files = find_text_files(std::span(&path, 1));
  TextReader reader(files.files, field, model.tokenizer.segmenter());
  ProgressLine progress("evaluating " + path, static_cast<double>(files.stored_bytes));
  DocumentScorer scorer(model);
  Encoder encoder(model.tokenizer);
  std::vector<std::uint32_t> ids;
  std::uint64_t tokens = 0;
  for (TextPart part; reader.next(part);) {
    ids.clear();
    encoder.encode(part.text, ids);
    scorer.append(ids, part.text.size());
    if (part.ends_document) scorer.end_document();
    tokens += ids.size();
    progress.update(static_cast<double>(reader.stored_bytes_read()),
                    [&](double seconds) { return tokens_done(tokens, seconds); });
  }
  TextResult result{path, scorer.finish()};
  CHECK_AS(ExitCode::data, !result.documents.empty(), "{}: no text", path);
  return result;
}

TextResult evaluate_corpus(const EvaluatedModel& model, const std::string& folder) {
  const Corpus corpus = Corpus::open(folder);
  const CorpusInfo& info = corpus.manifest().info;
  CHECK_AS(ExitCode::data, info.tokenizer_hash == model.tokenizer.hash(),
           "{} was made with tokenizer {}, the model was trained with {}", folder,
           info.tokenizer_hash, model.tokenizer.hash());
  ProgressLine progress("evaluating " + folder, static_cast<double>(corpus.num_tokens()));
  DocumentScorer scorer(model);
  ShardReader reader(model.tokenizer, info.end_of_document);
  std::uint64_t tokens = 0;
  for (const TokenShard& shard : corpus.shards()) {
    for (std::uint64_t d = 0; d < shard.info().num_documents; ++d) {
      reader.read_document(shard, d, scorer);
      tokens += shard.document_offset(d + 1) - shard.document_offset(d);
      progress.update(static_cast<double>(tokens),
                      [&](double seconds) { return tokens_done(tokens, seconds); });
    }
  }
  TextResult result{folder, scorer.finish()};
  CHECK_AS(ExitCode::data, !result.documents.empty(), "{}: no documents", folder);
  return result;
}

Json to_json(const TextResult& result, const char* key) {
  const TextCost total = result.total();
  const Percentiles interval = bootstrap_interval(result.documents);
  return {{key, result.name},
          {"documents", result.documents.size()},
          {"tokens", total.tokens},
          {"bytes", total.bytes},
          {"nats", total.nats},
          {"bits_per_byte", total.bits_per_byte()},
          {"bits_per_byte_low", interval.low},
          {"bits_per_byte_high", interval.high},
          {"perplexity", total.perplexity()}};
}

}  // namespace dualpath
