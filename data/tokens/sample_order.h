// SampleOrder: the endless sequence of training samples that follows from a DataState.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/random.h"
#include "data/tokens/blend.h"
#include "data/tokens/data_state.h"

namespace dualpath {

// Where a training sample comes from: its tokens start at `token`; behind wrap-1 comes token 0.
struct SampleLocation {
  std::size_t corpus = 0;    // index in DataState::blend
  std::uint64_t epoch = 0;   // number of the corpus's epoch
  std::uint64_t sample = 0;  // of the epoch's sequence (data_state.h)
  std::uint64_t token = 0;
  std::uint64_t wrap = 0;
  bool operator==(const SampleLocation&) const = default;
};

// The blend names the corpus of the next sample; the corpus gives the next sample of its epoch: the
// one at place `drawn` of Permutation(seed, "corpus ID epoch NUMBER"). An epoch that has given all
// its samples is followed by one over all the tokens the corpus has now. So nothing but seed, ids,
// token counts and the changes of the blend decides the order: neither names, nor paths, nor
// neighbours.
class SampleOrder {
 public:
  // REQUIRES: a blend, whose corpora have more tokens than a sequence.
  explicit SampleOrder(DataState state);

  SampleLocation next();  // allocates nothing
  // After the samples that next() has given.
  DataState state() const;
  std::uint64_t consumed_samples() const { return state_.consumed_samples; }

 private:
  void begin_epoch(std::size_t part);
  CorpusProgress& progress(std::size_t part) { return state_.corpora[state_.blend[part].corpus]; }
  void shuffle(std::size_t part);

  DataState state_;  // but for the blend's counts
  Blend blend_;
  std::vector<std::optional<Permutation>> shuffles_;  // of each part's epoch under way
};

}  // namespace dualpath
