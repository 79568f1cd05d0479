// Words with part-of-speech tags (CoNLL-U, universaldependencies.org/format.html).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"

namespace dualpath {

struct TaggedSentence {
  struct Word {
    std::size_t begin, end;  // bytes of the text
    std::string tag;         // UPOS
  };
  std::string text;  // the words, with a space behind each that has no SpaceAfter=No
  std::vector<Word> words;
};

// Words of a range ("3-4 don't") count as one, with the tag of the first. Empty nodes ("8.1") are
// passed over. Throws Error(data) with "file:line: what is wrong".
std::vector<TaggedSentence> read_conllu(const std::string& file);

// The tag of each token of the sentence: of the word in which its first byte that is no space lies;
// "SPACE" where there is none, "END" for the token that ends a document. The tokens are those of
// the text or the first of them, that one before them or not.
std::vector<std::string> tags_of_tokens(const TaggedSentence& sentence,
                                        std::span<const std::int32_t> tokens,
                                        const Tokenizer& tokenizer);

}  // namespace dualpath
