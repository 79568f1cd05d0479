// The steps of `dualpath tokenize`. Each reads the text once, on all cores, and shows its progress.
// A signal to stop ends any of them with Error(stopped).
#pragma once

#include <cstdint>
#include <string>

#include "data/corpus.h"
#include "data/text_reader.h"
#include "data/text_split.h"
#include "data/tokenizer.h"

namespace dualpath {

struct TextSource {
  std::vector<std::string> inputs;  // as the user named them
  TextFiles files;
  std::string field;    // of JSON lines
  TextExtent extent;    // needed where something is held out
  double held_out = 0;  // share of the bytes, at the text's end
  std::size_t num_threads = 1;
};

TextExtent measure_text(const TextSource& source);

// From the first train_bytes of the text that is not held out.
Tokenizer train_tokenizer(const TextSource& source, SplitRule split, std::uint32_t vocab_size,
                          std::uint64_t train_bytes);

// Leaves both writers to be finished. held_out stays as it is if nothing is held out.
void write_tokens(const TextSource& source, const Tokenizer& tokenizer, CorpusWriter& training,
                  CorpusWriter& held_out);

}  // namespace dualpath
