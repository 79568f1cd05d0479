// The steps of `dualpath tokenize`. Each reads the text once, on all cores, and shows its progress.
// A signal to stop ends any of them with Error(stopped).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/text/text_reader.h"
#include "data/text/text_split.h"
#include "data/text/tokenizer.h"
#include "data/tokens/corpus.h"

namespace dualpath {

struct TextSource {
  std::vector<std::string> inputs;  // as the user named them
  TextFiles files;
  std::string field;      // of JSON lines
  std::string separator;  // between documents of other files; empty: none
  TextExtent extent;      // needed where something is held out
  double held_out = 0;    // share of the bytes, at the text's end
  std::size_t num_threads = 1;
};

TextExtent measure_text(const TextSource& source);

// From the first train_bytes of the text that is not held out.
Tokenizer train_tokenizer(const TextSource& source, SplitRule split, std::uint32_t vocab_size,
                          std::uint64_t train_bytes);

// What in the text asks for a second look.
struct TextFindings {
  std::vector<std::pair<std::string, std::uint64_t>> special_tokens;  // spelt in it, how often
  std::vector<std::string> files_with_zeros;                          // with a byte 0
  std::uint64_t separators = 0;
};

// Leaves both writers to be finished. held_out stays as it is if nothing is held out.
TextFindings write_tokens(const TextSource& source, const Tokenizer& tokenizer,
                          CorpusWriter& training, CorpusWriter& held_out);

}  // namespace dualpath
