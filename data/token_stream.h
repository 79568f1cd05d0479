// Samples cut from corpora. Sample s of a corpus is its tokens [s·L, s·L + L], L the sequence
// length: L inputs, and the targets one token later.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/mixture.h"
#include "data/sample_source.h"

namespace dualpath {

struct WeightedCorpus {
  Corpus corpus;
  double weight = 1;  // its share of the samples is weight / Σ weights
};

// Where a training sample comes from.
struct SampleLocation {
  std::size_t corpus;    // index in TokenStream::corpora()
  std::uint64_t epoch;   // how often the corpus had been read through before
  std::uint64_t sample;  // of the corpus
  std::uint64_t token;   // the first one, in the corpus
};

// The endless training stream: a pure function of the seed and the sample's number. The mixture
// names the corpus and the how-manieth n of its samples this is; n / num_samples is the epoch e,
// and the n mod num_samples'th place of Permutation(seed, "corpus NAME epoch e") the sample.
// All errors of the constructor are Error(data).
class TokenStream final : public SampleSource {
 public:
  TokenStream(std::vector<WeightedCorpus> corpora, std::uint64_t seed,
              std::int64_t sequence_length);

  std::int64_t sequence_length() const override { return sequence_length_; }
  std::uint64_t vocab_size() const override;
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override;

  SampleLocation locate(std::uint64_t sample) const;
  std::span<const WeightedCorpus> corpora() const { return corpora_; }
  // Whole samples in one epoch of a corpus.
  std::uint64_t num_samples(std::size_t corpus) const { return num_samples_[corpus]; }

 private:
  std::vector<WeightedCorpus> corpora_;
  Mixture mixture_;
  std::uint64_t seed_;
  std::int64_t sequence_length_;
  std::vector<std::string> names_;
  std::vector<std::uint64_t> num_samples_;
};

// One corpus from its first to its last token, for validation. The last sample may have targets
// of -1 at its end, and samples from num_samples() on have no other.
class SequentialSamples final : public SampleSource {
 public:
  SequentialSamples(Corpus corpus, std::int64_t sequence_length);
  std::int64_t sequence_length() const override { return sequence_length_; }
  std::uint64_t vocab_size() const override { return corpus_.manifest().info.vocab_size; }
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override;
  // Samples with at least one target.
  std::uint64_t num_samples() const;
  const Corpus& corpus() const { return corpus_; }

 private:
  Corpus corpus_;
  std::int64_t sequence_length_;
};

}  // namespace dualpath
