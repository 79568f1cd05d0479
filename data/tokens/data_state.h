// DataState: how far a run has come in its corpora. With the corpora themselves it decides every
// sample to come; a checkpoint holds it as text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokens/corpus_content.h"

namespace dualpath {

// A pass over a corpus. It begins with the tokens [carried_begin, carried_end), too few for a
// sample, which the pass before has left over, and goes on with the tokens [0, num_tokens). That
// sequence is cut into samples; what is left over again is carried on.
struct Epoch {
  std::uint64_t number = 0;
  std::uint64_t carried_begin = 0, carried_end = 0;
  std::uint64_t num_tokens = 0;  // of the corpus when the epoch began
  std::uint64_t drawn = 0;       // samples of this epoch so far
  bool operator==(const Epoch&) const = default;

  std::uint64_t length() const { return carried_end - carried_begin + num_tokens; }
  std::uint64_t num_samples(std::uint64_t sequence_length) const {
    return length() / sequence_length;
  }
};

// A corpus that takes part in the run, or once did.
struct CorpusProgress {
  std::uint64_t id = 0;        // from 1, in the order in which the corpora entered the run
  std::string folder;          // where it was found last
  CorpusContent content;       // as it was found last
  std::uint64_t consumed = 0;  // samples, over all epochs
  Epoch epoch;                 // the one under way
  bool operator==(const CorpusProgress&) const = default;
};

// A corpus of the blend under way, which began when weights or corpora were last changed.
struct BlendPart {
  std::size_t corpus = 0;  // index in DataState::corpora
  double weight = 1;
  std::uint64_t drawn = 0;  // samples dealt to it by this blend
  bool operator==(const BlendPart&) const = default;
};

struct DataState {
  std::uint64_t seed = 0;  // of the shuffles: the run's when it began
  std::uint64_t sequence_length = 0;
  std::uint64_t consumed_samples = 0;
  std::vector<CorpusProgress> corpora;  // ascending in id
  std::vector<BlendPart> blend;
  bool operator==(const DataState&) const = default;
};

// YAML, which parse_data_state reads back.
std::string print_data_state(const DataState& state);
// Throws Error(checkpoint) that names `source` where the text makes no sense.
DataState parse_data_state(const std::string& text, const std::string& source);

}  // namespace dualpath
