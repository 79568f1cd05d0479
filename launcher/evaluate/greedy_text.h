// The likeliest continuation of a text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "model/model.h"

namespace dualpath {

struct GenerateRequest {
  std::string context;
  std::vector<std::string> until;  // the text ends before the first of them
  std::int64_t max_tokens;
};

class GreedyWriter {
 public:
  GreedyWriter(Model& model, const Tokenizer& tokenizer) : model_(model), tokenizer_(tokenizer) {}

  // What follows the context: always the likeliest token, until the document ends, a text of
  // `until` is there, or there are max_tokens. A context that does not fit the model's
  // sequence_length together with max_tokens loses its first tokens; an empty one begins a
  // document. Throws Error(numerics) where logits are not finite.
  std::string write(const GenerateRequest& request);

 private:
  std::vector<std::int32_t> encode_context(const GenerateRequest& request) const;

  Model& model_;
  const Tokenizer& tokenizer_;
};

}  // namespace dualpath
