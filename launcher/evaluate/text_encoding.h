// From texts to the tokens that are scored, by lm-evaluation-harness's conventions, so that scores
// are comparable with those it gives an exported model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/tokenizer.h"
#include "launcher/evaluate/text_packing.h"

namespace dualpath {

// A continuation behind its context.
//   - Spaces at the context's end go to the continuation.
//   - Both are encoded as one text; the continuation begins behind as many tokens as the context
//     has alone. No token stands before the context.
//   - An empty context is replaced by the token that ends a document, which is what a text of the
//     training data follows.
//   - A text that is longer than sequence_length + 1 tokens loses its first ones.
struct EncodedPair {
  ScoredText text;
  std::size_t tokens_cut = 0;  // of the context
};
// Throws Error(data), without the place, where the continuation has no token of its own (it is
// empty, or a token spans the join) or more than sequence_length.
EncodedPair encode_pair(const Tokenizer& tokenizer, std::string_view context,
                        std::string_view continuation, std::int64_t sequence_length);

// A document of any length in windows of at most sequence_length tokens, each of its tokens scored
// once. The first window begins behind the token that ends a document, each other one behind the
// last token of the window before; the last one reaches back to be as long as the others.
class RollingWindows {
 public:
  RollingWindows(std::int32_t end_of_document, std::int64_t sequence_length);

  // More tokens of the document, and its end; windows that are complete are appended to `windows`.
  void append(std::span<const std::uint32_t> tokens, std::vector<ScoredText>& windows);
  void finish(std::vector<ScoredText>& windows);

 private:
  void cut_window(std::size_t num_scored, std::vector<ScoredText>& windows);

  std::int32_t end_of_document_;
  std::size_t length_;
  // The last tokens of what was scored, then those that wait.
  std::vector<std::int32_t> tokens_;
  std::size_t num_scored_ = 0;  // of tokens_
};

}  // namespace dualpath
