#include "data/tokens/token_stream.h"

#include <algorithm>
#include <utility>

namespace dualpath {

namespace {

// The state before a run's first sample.
DataState first_state(std::span<const WeightedCorpus> corpora, std::uint64_t seed,
                      std::int64_t sequence_length) {
  CHECK(sequence_length > 0, "samples of {} tokens", sequence_length);
  CHECK_AS(ExitCode::configuration, !corpora.empty(), "no training corpora");
  DataState state;
  state.seed = seed;
  state.sequence_length = static_cast<std::uint64_t>(sequence_length);
  return resume_data(std::move(state), corpora, false, [](const std::string&) {});
}

}  // namespace

TokenStream::TokenStream(std::vector<WeightedCorpus> corpora, std::uint64_t seed,
                         std::int64_t sequence_length)
    : corpora_(std::move(corpora)),
      sequence_length_(sequence_length),
      start_(first_state(corpora_, seed, sequence_length)),
      reading_(start_),
      saving_(start_) {
  begin(start_);
}

void TokenStream::resume(DataState state, bool replaced,
                         const std::function<void(const std::string&)>& report) {
  CHECK(state.sequence_length == static_cast<std::uint64_t>(sequence_length_),
        "samples of {} tokens go on as samples of {}", state.sequence_length, sequence_length_);
  begin(resume_data(std::move(state), corpora_, replaced, report));
}

void TokenStream::begin(DataState state) {
  start_ = std::move(state);
  reading_ = saving_ = SampleOrder(start_);
  corpus_of_part_.clear();
  for (const BlendPart& part : start_.blend) {
    const CorpusContent& content = start_.corpora[part.corpus].content;
    const auto corpus = std::ranges::find_if(
        corpora_, [&](const WeightedCorpus& c) { return c.corpus.content() == content; });
    corpus_of_part_.push_back(static_cast<std::size_t>(corpus - corpora_.begin()));
  }
}

std::uint64_t TokenStream::vocab_size() const {
  return corpora_.front().corpus.manifest().info.vocab_size;
}

SampleLocation TokenStream::locate(std::uint64_t sample) const {
  CHECK(sample >= start_.consumed_samples, "sample {} of a stream that begins with {}", sample,
        start_.consumed_samples);
  const std::lock_guard lock(mutex_);
  if (sample + 1 < reading_.consumed_samples()) reading_ = SampleOrder(start_);
  while (reading_.consumed_samples() <= sample) last_ = reading_.next();
  SampleLocation location = last_;
  location.corpus = corpus_of_part_[location.corpus];
  return location;
}

DataState TokenStream::state_at(std::uint64_t consumed) const {
  CHECK(consumed >= start_.consumed_samples, "after {} samples of a stream that begins with {}",
        consumed, start_.consumed_samples);
  const std::lock_guard lock(mutex_);
  if (consumed < saving_.consumed_samples()) saving_ = SampleOrder(start_);
  while (saving_.consumed_samples() < consumed) saving_.next();
  return saving_.state();
}

void TokenStream::read(std::uint64_t sample, std::span<std::int32_t> inputs,
                       std::span<std::int32_t> targets) const {
  const SampleLocation location = locate(sample);
  const Corpus& corpus = corpora_[location.corpus].corpus;
  const auto before = std::min<std::uint64_t>(inputs.size(), location.wrap - location.token);
  corpus.read(location.token, inputs.first(before));
  corpus.read(0, inputs.subspan(before));
  std::copy(inputs.begin() + 1, inputs.end(), targets.begin());
  const std::uint64_t next = location.token + inputs.size();  // the last target, were there no end
  corpus.read(next < location.wrap ? next : next - location.wrap, targets.last(1));
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
    corpus_.read(begin, inputs.first(count));
    corpus_.read(begin + 1, targets.first(count));
  }
  std::fill(inputs.begin() + static_cast<std::ptrdiff_t>(count), inputs.end(), 0);
  std::fill(targets.begin() + static_cast<std::ptrdiff_t>(count), targets.end(), -1);
}

}  // namespace dualpath
