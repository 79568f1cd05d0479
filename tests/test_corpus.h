// Small corpora for tests.
#pragma once

#include <string>

#include "data/tokens/corpus.h"

namespace dualpath {

constexpr std::uint32_t test_vocab_size = 1000;

// A corpus of num_tokens tokens in documents of 7, several shards: token i is (first + i) modulo
// test_vocab_size, so that a token tells where it stands.
Corpus make_test_corpus(const std::string& folder, std::uint64_t num_tokens,
                        std::uint32_t first = 0, const std::string& tokenizer_hash = "abc");

}  // namespace dualpath
