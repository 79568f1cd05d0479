#include "launcher/evaluate/token_classes.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>

namespace dualpath {

namespace {

bool is_space(char c) {
  return std::string_view(" \t\n\v\f\r").find(c) != std::string_view::npos;
}

bool is_digit(char c) {
  return '0' <= c && c <= '9';
}

char small_letter(char c) {
  return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  return std::ranges::any_of(beginnings, [&](std::string_view b) { return text.starts_with(b); });
}

bool begins_with_punctuation(std::string_view text) {
  if (std::string_view(".,;:!?'\"()[]{}-").find(text[0]) != std::string_view::npos) return true;
  // U+2010 to U+203F: dashes, quotation marks, ellipsis; ¡ § « ¶ · » ¿; 、 。 〈 to 】
  return begins_with_any(
      text, {"\xe2\x80\x90", "\xe2\x80\x91", "\xe2\x80\x92", "\xe2\x80\x93", "\xe2\x80\x94",
             "\xe2\x80\x95", "\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9a", "\xe2\x80\x9b",
             "\xe2\x80\x9c", "\xe2\x80\x9d", "\xe2\x80\x9e", "\xe2\x80\x9f", "\xe2\x80\xa6",
             "\xe2\x80\xb9", "\xe2\x80\xba", "\u00a1",       "\u00a7",       "\u00ab",
             "\u00b6",       "\u00b7",       "\u00bb",       "\u00bf",       "\u3001",
             "\u3002"});
}

bool begins_with_operator(std::string_view text) {
  return std::string_view("+=<>").find(text[0]) != std::string_view::npos ||
         begins_with_any(text, {"\u00d7", "\u00f7", "\u00b1", "\u2212"});
}

// Bytes of characters beyond ASCII that are neither punctuation, operators nor the symbols of
// Latin-1, currencies, arrows and mathematics count as letters.
bool begins_with_letter(std::string_view text) {
  const char c = small_letter(text[0]);
  if ('a' <= c && c <= 'z') return true;
  if (static_cast<unsigned char>(c) < 0x80) return false;
  const bool symbol = begins_with_any(
      text, {"\xc2", "\xe2\x82", "\xe2\x84", "\xe2\x86", "\xe2\x87", "\xe2\x88", "\xe2\x89"});
  return !symbol && !begins_with_punctuation(text) && !begins_with_operator(text);
}

bool is_function_word(const std::string& word) {
  static const std::unordered_set<std::string_view> words = {
      "a",         "an",        "the",        "this",      "that",       "these",    "those",
      "each",      "every",     "either",     "neither",   "some",       "any",      "no",
      "all",       "both",      "half",       "such",      "another",    "other",    "much",
      "many",      "few",       "little",     "more",      "most",       "less",     "least",
      "several",   "enough",    "i",          "me",        "my",         "mine",     "myself",
      "you",       "your",      "yours",      "yourself",  "yourselves", "he",       "him",
      "his",       "himself",   "she",        "her",       "hers",       "herself",  "it",
      "its",       "itself",    "we",         "us",        "our",        "ours",     "ourselves",
      "they",      "them",      "their",      "theirs",    "themselves", "one",      "ones",
      "who",       "whom",      "whose",      "which",     "what",       "whatever", "whoever",
      "whichever", "someone",   "somebody",   "something", "anyone",     "anybody",  "anything",
      "everyone",  "everybody", "everything", "nobody",    "nothing",    "none",     "there",
      "here",      "where",     "when",       "why",       "how",        "of",       "in",
      "on",        "at",        "by",         "for",       "with",       "about",    "against",
      "between",   "among",     "into",       "through",   "during",     "before",   "after",
      "above",     "below",     "to",         "from",      "up",         "down",     "out",
      "off",       "over",      "under",      "upon",      "within",     "without",  "toward",
      "towards",   "across",    "behind",     "beyond",    "near",       "since",    "until",
      "till",      "per",       "via",        "except",    "despite",    "around",   "along",
      "and",       "or",        "but",        "nor",       "so",         "yet",      "if",
      "then",      "else",      "because",    "although",  "though",     "while",    "whereas",
      "unless",    "whether",   "as",         "than",      "be",         "am",       "is",
      "are",       "was",       "were",       "been",      "being",      "have",     "has",
      "had",       "having",    "do",         "does",      "did",        "doing",    "done",
      "will",      "would",     "shall",      "should",    "can",        "could",    "may",
      "might",     "must",      "ought",      "not",       "n't",        "don't",    "doesn't",
      "didn't",    "isn't",     "aren't",     "wasn't",    "weren't",    "won't",    "wouldn't",
      "can't",     "couldn't",  "shouldn't",  "haven't",   "hasn't",     "hadn't",   "i'm",
      "i've",      "i'll",      "i'd",        "you're",    "you've",     "you'll",   "he's",
      "she's",     "it's",      "we're",      "we've",     "we'll",      "they're",  "they've",
      "they'll",   "that's",    "there's",    "what's",    "let's",      "too",      "very",
      "also",      "only",      "just",       "even",      "again",      "once",     "ever",
      "never",     "s",         "t",          "re",        "ve",         "ll",       "d",
      "m"};
  return words.contains(word);
}

class Classifier {
 public:
  explicit Classifier(std::string text) : text_(std::move(text)) {}

  // Of the bytes [begin, end) of the text.
  TokenClass of(std::size_t begin, std::size_t end) const {
    if (begin == end) return TokenClass::special;
    while (begin < end && is_space(text_[begin])) ++begin;
    if (begin == end) return TokenClass::space;
    const std::string_view rest = std::string_view(text_).substr(begin);
    if (is_digit(rest[0]) || begins_with_operator(rest)) return TokenClass::number;
    if (is_within_word(begin))
      return is_function_word(word_around(begin)) ? TokenClass::function_word
                                                  : TokenClass::lexical_word;
    return begins_with_punctuation(rest) ? TokenClass::punctuation : TokenClass::symbol;
  }

 private:
  bool is_letter(std::size_t i) const {
    return i < text_.size() && begins_with_letter(std::string_view(text_).substr(i));
  }
  // A letter, the later bytes of one, or an apostrophe between two letters.
  bool is_within_word(std::size_t i) const {
    if (i >= text_.size()) return false;
    if ((text_[i] & '\xc0') == '\x80') {
      while (i > 0 && (text_[i] & '\xc0') == '\x80') --i;
      return is_letter(i);
    }
    if (text_[i] == '\'') return i > 0 && is_within_word(i - 1) && is_letter(i + 1);
    return is_letter(i);
  }
  std::string word_around(std::size_t i) const {
    std::size_t begin = i, end = i;
    while (begin > 0 && is_within_word(begin - 1)) --begin;
    while (is_within_word(end)) ++end;
    std::string word = text_.substr(begin, end - begin);
    std::ranges::transform(word, word.begin(), small_letter);
    return word;
  }

  std::string text_;
};

}  // namespace

std::vector<TokenClass> token_classes(const Tokenizer& tokenizer,
                                      std::span<const std::int32_t> ids) {
  std::string text;
  std::vector<std::size_t> ends;
  for (const std::int32_t id : ids) {
    const auto token = static_cast<std::uint32_t>(id);
    if (token != tokenizer.end_of_text()) text += tokenizer.tokens()[token];
    ends.push_back(text.size());
  }
  const Classifier classifier(std::move(text));
  std::vector<TokenClass> classes;
  for (std::size_t i = 0; i < ends.size(); ++i)
    classes.push_back(classifier.of(i == 0 ? 0 : ends[i - 1], ends[i]));
  return classes;
}

}  // namespace dualpath
