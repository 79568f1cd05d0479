// Bits per byte and perplexity of texts and corpora.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokens/corpus.h"
#include "launcher/common/table.h"
#include "launcher/evaluate/text_encoding.h"
#include "launcher/evaluate/text_scorer.h"

namespace dualpath {

// What a text costs the model.
struct TextCost {
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;  // UTF-8, of the text that the tokens stand for
  double nats = 0;          // -log p of all tokens

  TextCost& operator+=(const TextCost& more);
  double bits_per_byte() const;
  double perplexity() const;  // of a token
};

struct Percentiles {
  double low, high;
};
// Percentiles 2.5 and 97.5 of bits_per_byte over 1000 resamples of the documents with replacement;
// the same documents give the same interval. It tells what another choice of documents might have
// given, not what another training run might. REQUIRES: there are documents.
Percentiles bootstrap_interval(std::span<const TextCost> documents);

struct TextResult {
  std::string name;  // the file or folder as the user gave it
  std::vector<TextCost> documents;

  TextCost total() const;
};

// What evaluating texts needs.
struct EvaluatedModel {
  TextScorer& scorer;
  const Tokenizer& tokenizer;
  std::int64_t sequence_length;
};

// All documents of a file or folder, read as `dualpath tokenize` reads them. field: of JSON lines.
// Throws Error(data). Collective.
TextResult evaluate_text_files(const EvaluatedModel& model, const std::string& path,
                               const std::string& field);
// All documents of a corpus, without the tokens that end them. Throws Error(data) where it was made
// with another tokenizer. Collective.
TextResult evaluate_corpus(const EvaluatedModel& model, const std::string& folder);

// {file or folder, documents, tokens, bytes, nats, bits_per_byte, low, high, perplexity}. key:
// "file".
Json to_json(const TextResult& result, const char* key);

}  // namespace dualpath
