#include "tests/test_corpus.h"

#include <algorithm>

namespace dualpath {

Corpus make_test_corpus(const std::string& folder, std::uint64_t num_tokens, std::uint32_t first,
                        const std::string& tokenizer_hash) {
  CorpusWriter writer(folder, {tokenizer_hash, test_vocab_size, -1}, num_tokens / 3 + 7);
  std::vector<std::uint32_t> document;
  for (std::uint64_t begin = 0; begin < num_tokens; begin += 7) {
    document.clear();
    for (std::uint64_t i = begin; i < std::min(begin + 7, num_tokens); ++i) {
      document.push_back(static_cast<std::uint32_t>((first + i) % test_vocab_size));
    }
    writer.add_document(document);
  }
  writer.finish();
  return Corpus::open(folder);
}

}  // namespace dualpath
