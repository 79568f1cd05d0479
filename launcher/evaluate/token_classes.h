// What kind of token a token is, by built-in rules for English text.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/config/field.h"
#include "data/text/tokenizer.h"

namespace dualpath {

enum class TokenClass {
  punctuation,    // . , ; : ! ? ' " ( ) [ ] { } - and Unicode's
  symbol,         // $ % # @ & * / \ ^ _ | ~ and what no other class takes
  number,         // digits, and + = < > × ÷ ±
  space,          // white space only
  function_word,  // of a closed list: articles, pronouns, prepositions, conjunctions, auxiliaries
  lexical_word,   // any other word
  special         // no text: the end of a document
};

template <>
struct EnumNames<TokenClass> {
  static constexpr std::pair<TokenClass, const char*> values[] = {
      {TokenClass::punctuation, "punctuation"},
      {TokenClass::symbol, "symbol"},
      {TokenClass::number, "number"},
      {TokenClass::space, "space"},
      {TokenClass::function_word, "function_word"},
      {TokenClass::lexical_word, "lexical_word"},
      {TokenClass::special, "special"}};
};

// Of each token of a text. White space before it does not count. A piece of a word has the class of
// the whole word, which may reach into the tokens around it; a token of several kinds has that of
// its first character.
std::vector<TokenClass> token_classes(const Tokenizer& tokenizer,
                                      std::span<const std::int32_t> ids);

}  // namespace dualpath
