// Samples cut from corpora: sequence_length inputs, and the targets one token later.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "data/tokens/corpus.h"
#include "data/tokens/data_resume.h"
#include "data/tokens/sample_order.h"
#include "data/tokens/sample_source.h"

namespace dualpath {

// The endless training stream: sample i is a pure function of the corpora, the state that the
// stream begins with and i, whatever the layout. Reading samples in ascending order takes constant
// time for each; going back deals them out from the beginning again. Errors of corpora are
// Error(data).
class TokenStream final : public SampleSource {
 public:
  // A run's beginning.
  TokenStream(std::vector<WeightedCorpus> corpora, std::uint64_t seed,
              std::int64_t sequence_length);
  // Goes on from where a run has come: resume_data().
  void resume(DataState state, bool replaced,
              const std::function<void(const std::string&)>& report);

  std::int64_t sequence_length() const override { return sequence_length_; }
  std::uint64_t vocab_size() const override;
  // REQUIRES: the sample is not before the one that the stream begins with.
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override;

  // SampleLocation::corpus is an index in corpora(). REQUIRES: as read().
  SampleLocation locate(std::uint64_t sample) const;
  // Where the run stands when the samples before `consumed` have been trained on. REQUIRES: as
  // read().
  DataState state_at(std::uint64_t consumed) const;
  std::span<const WeightedCorpus> corpora() const { return corpora_; }

 private:
  void begin(DataState state);

  std::vector<WeightedCorpus> corpora_;
  std::int64_t sequence_length_;
  DataState start_;
  std::vector<std::size_t> corpus_of_part_;  // index in corpora_ of each part of the blend
  mutable std::mutex mutex_;                 // of the members below
  mutable SampleOrder reading_, saving_;     // as far as locate() and state_at() have come
  mutable SampleLocation last_;              // that reading_ has given
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
