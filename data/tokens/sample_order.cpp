#include "data/tokens/sample_order.h"

#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "core/base/error.h"

namespace dualpath {

namespace {

Blend blend_of(const DataState& state) {
  std::vector<double> weights;
  std::vector<std::uint64_t> drawn;
  for (const BlendPart& part : state.blend) {
    weights.push_back(part.weight);
    drawn.push_back(part.drawn);
  }
  return Blend(weights, drawn);
}

}  // namespace

SampleOrder::SampleOrder(DataState state)
    : state_(std::move(state)), blend_(blend_of(state_)), shuffles_(state_.blend.size()) {
  for (std::size_t part = 0; part < shuffles_.size(); ++part) shuffle(part);
}

DataState SampleOrder::state() const {
  DataState state = state_;
  for (std::size_t part = 0; part < state.blend.size(); ++part)
    state.blend[part].drawn = blend_.drawn()[part];
  return state;
}

void SampleOrder::shuffle(std::size_t part) {
  const CorpusProgress& corpus = progress(part);
  const std::uint64_t count = corpus.epoch.num_samples(state_.sequence_length);
  CHECK(count > 0, "{}: an epoch without a sample", corpus.folder);
  fmt::memory_buffer name;  // on the stack
  fmt::format_to(std::back_inserter(name), "corpus {} epoch {}", corpus.id, corpus.epoch.number);
  shuffles_[part].emplace(state_.seed, std::string_view(name.data(), name.size()), count);
}

void SampleOrder::begin_epoch(std::size_t part) {
  CorpusProgress& corpus = progress(part);
  const Epoch& last = corpus.epoch;
  const std::uint64_t left_over = last.length() % state_.sequence_length;
  corpus.epoch = {.number = last.number + 1,
                  .carried_begin = last.num_tokens - left_over,
                  .carried_end = last.num_tokens,
                  .num_tokens = corpus.content.num_tokens,
                  .drawn = 0};
  shuffle(part);
}

SampleLocation SampleOrder::next() {
  const std::size_t part = blend_.next();
  CorpusProgress& corpus = progress(part);
  if (corpus.epoch.drawn == corpus.epoch.num_samples(state_.sequence_length)) begin_epoch(part);
  Epoch& epoch = corpus.epoch;
  const std::uint64_t sample = (*shuffles_[part])(epoch.drawn);
  ++epoch.drawn;
  ++corpus.consumed;
  ++state_.consumed_samples;
  const std::uint64_t place = sample * state_.sequence_length;
  const std::uint64_t carried = epoch.carried_end - epoch.carried_begin;
  if (place < carried)
    return {part, epoch.number, sample, epoch.carried_begin + place, epoch.carried_end};
  return {part, epoch.number, sample, place - carried, epoch.num_tokens};
}

}  // namespace dualpath
