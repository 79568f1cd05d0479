// From the state of the data at a checkpoint and the corpora that are given now to the state that a
// run goes on from.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "data/tokens/corpus.h"
#include "data/tokens/data_state.h"

namespace dualpath {

struct WeightedCorpus {
  Corpus corpus;
  double weight = 1;  // its share of the samples is weight / Σ weights
};

// Every corpus goes on where it was: one that was renamed or moved is known by its content, and so
// is one that has grown, by more tokens behind those it had; the new ones count from its next
// epoch. A corpus that was not there before begins, one that is not given any more keeps its place
// in case it comes back. Where weights or corpora differ a new blend begins, in the order of the
// corpora's ids. What has changed is told to `report`, a line each.
//
// Throws Error(data) where two corpora hold the same tokens or have too few for a sample, and where
// a folder holds other tokens than before, unless `replaced`: such a corpus is a new one.
DataState resume_data(DataState state, std::span<const WeightedCorpus> corpora, bool replaced,
                      const std::function<void(const std::string&)>& report);

}  // namespace dualpath
