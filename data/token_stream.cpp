#include "data/token_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dualpath {

namespace {

std::vector<double> weights_of(std::span<const WeightedCorpus> corpora) {
  std::vector<double> weights;
  for (const WeightedCorpus& weighted : corpora) weights.push_back(weighted.weight);
  return weights;
}

// Reads inputs.size() + 1 tokens from `token` on.
void read_sample(const Corpus& corpus, std::uint64_t token, std::span<std::int32_t> inputs,
                 std::span<std::int32_t> targets) {
  corpus.read(token, inputs);
  std::copy(inputs.begin() + 1, inputs.end(), targets.begin());
  corpus.read(token + inputs.size(), targets.last(1));
}

}  // namespace

TokenStream::TokenStream(std::vector<WeightedCorpus> corpora, std::uint64_t seed,
                         std::int64_t sequence_length)
    : corpora_(std::move(corpora)),
      mixture_(weights_of(corpora_)),
      seed_(seed),
      sequence_length_(sequence_length) {
  CHECK(sequence_length > 0, "samples of {} tokens", sequence_length);
  const Corpus& first = corpora_.front().corpus;
  for (const auto& [corpus, weight] : corpora_) {
    const CorpusInfo &info = corpus.manifest().info, &expected = first.manifest().info;
    CHECK_AS(
        ExitCode::data,
        info.tokenizer_hash == expected.tokenizer_hash && info.vocab_size == expected.vocab_size,
        "{} and {} were made with different tokenizers: {} with {} tokens, {} with {}",
        first.folder(), corpus.folder(), expected.tokenizer_hash, expected.vocab_size,
        info.tokenizer_hash, info.vocab_size);
    const auto length = static_cast<std::uint64_t>(sequence_length);
    CHECK_AS(ExitCode::data, corpus.num_tokens() > length,
             "{}: {} tokens are too few for one sample of {} and its last target", corpus.folder(),
             corpus.num_tokens(), length);
    num_samples_.push_back((corpus.num_tokens() - 1) / length);
    names_.push_back(corpus.name());
  }
}

std::uint64_t TokenStream::vocab_size() const {
  return corpora_.front().corpus.manifest().info.vocab_size;
}

SampleLocation TokenStream::locate(std::uint64_t sample) const {
  const auto [corpus, ordinal] = mixture_.pick(sample);
  const std::uint64_t count = num_samples_[corpus];
  const std::uint64_t epoch = ordinal / count;
  fmt::memory_buffer order;  // on the stack unless the name is very long
  fmt::format_to(std::back_inserter(order), "corpus {} epoch {}", names_[corpus], epoch);
  const Permutation shuffled(seed_, {order.data(), order.size()}, count);
  const std::uint64_t chosen = shuffled(ordinal % count);
  return {corpus, epoch, chosen, chosen * static_cast<std::uint64_t>(sequence_length_)};
}

void TokenStream::read(std::uint64_t sample, std::span<std::int32_t> inputs,
                       std::span<std::int32_t> targets) const {
  const SampleLocation location = locate(sample);
  read_sample(corpora_[location.corpus].corpus, location.token, inputs, targets);
}

SequentialSamples::SequentialSamples(Corpus corpus, std::int64_t sequence_length)
    : corpus_(std::move(corpus)), sequence_length_(sequence_length) {
  CHECK(sequence_length > 0, "samples of {} tokens", sequence_length);
  CHECK_AS(ExitCode::data, corpus_.num_tokens() > 1, "{}: one token has no next one",
           corpus_.folder());
}

std::uint64_t SequentialSamples::num_samples() const {
  const auto length = static_cast<std::uint64_t>(sequence_length_);
  return (corpus_.num_tokens() - 1 + length - 1) / length;
}

void SequentialSamples::read(std::uint64_t sample, std::span<std::int32_t> inputs,
                             std::span<std::int32_t> targets) const {
  std::uint64_t count = 0;  // of targets
  if (sample < num_samples()) {
    const std::uint64_t begin = sample * inputs.size();
    count = std::min<std::uint64_t>(inputs.size(), corpus_.num_tokens() - 1 - begin);
    read_sample(corpus_, begin, inputs.first(count), targets.first(count));
  }
  std::fill(inputs.begin() + static_cast<std::ptrdiff_t>(count), inputs.end(), 0);
  std::fill(targets.begin() + static_cast<std::ptrdiff_t>(count), targets.end(), -1);
}

}  // namespace dualpath
