#include "launcher/evaluate/text_encoding.h"

#include <algorithm>

namespace dualpath {

namespace {

// What Python's str.rstrip() takes away.
constexpr std::string_view spaces[] = {
    " ",      "\t",     "\n",       "\v",       "\f",     "\r",     "\x1c",   "\x1d",
    "\x1e",   "\x1f",   "\xc2\x85", "\xc2\xa0", "\u1680", "\u2000", "\u2001", "\u2002",
    "\u2003", "\u2004", "\u2005",   "\u2006",   "\u2007", "\u2008", "\u2009", "\u200a",
    "\u2028", "\u2029", "\u202f",   "\u205f",   "\u3000"};

std::size_t length_without_spaces(std::string_view text) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view space : spaces) {
      if (!text.ends_with(space)) continue;
      text.remove_suffix(space.size());
      found = true;
    }
  }
  return text.size();
}

std::vector<std::int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::uint32_t> ids;
  tokenizer.encode(text, ids);
  return {ids.begin(), ids.end()};
}

}  // namespace

EncodedPair encode_pair(const Tokenizer& tokenizer, std::string_view context,
                        std::string_view continuation, std::int64_t sequence_length) {
  const std::string whole = std::string(context) + std::string(continuation);
  const std::size_t context_bytes = length_without_spaces(context);
  EncodedPair pair;
  std::vector<std::int32_t>& tokens = pair.text.tokens;
  tokens = encode(tokenizer, whole);
  pair.text.first_scored =
      encode(tokenizer, std::string_view(whole).substr(0, context_bytes)).size();
  if (pair.text.first_scored == 0) {
    tokens.insert(tokens.begin(), static_cast<std::int32_t>(tokenizer.end_of_text()));
    pair.text.first_scored = 1;
  }
  CHECK_AS(ExitCode::data, !continuation.empty(), "the continuation is empty");
  CHECK_AS(ExitCode::data, pair.text.first_scored < tokens.size(),
           "the continuation \"{}\" has no token of its own: one spans its join with the context",
           continuation);
  const auto longest = static_cast<std::size_t>(sequence_length) + 1;
  const std::size_t num_scored = pair.text.num_scored();
  CHECK_AS(ExitCode::data, num_scored < longest,
           "the continuation has {} tokens, the model's sequence_length is {}", num_scored,
           sequence_length);
  if (tokens.size() > longest) {
    pair.tokens_cut = tokens.size() - longest;
    tokens.erase(tokens.begin(), tokens.end() - static_cast<std::ptrdiff_t>(longest));
    pair.text.first_scored = longest - num_scored;
  }
  return pair;
}

RollingWindows::RollingWindows(std::int32_t end_of_document, std::int64_t sequence_length)
    : end_of_document_(end_of_document),
      length_(static_cast<std::size_t>(sequence_length)),
      tokens_{end_of_document},
      num_scored_(1) {}

void RollingWindows::append(std::span<const std::uint32_t> tokens,
                            std::vector<ScoredText>& windows) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  while (tokens_.size() - num_scored_ >= length_) cut_window(length_, windows);
  // The last window may reach back over a whole one and the token before it.
  if (num_scored_ <= length_ + 1) return;
  tokens_.erase(tokens_.begin(),
                tokens_.begin() + static_cast<std::ptrdiff_t>(num_scored_ - length_ - 1));
  num_scored_ = length_ + 1;
}

void RollingWindows::finish(std::vector<ScoredText>& windows) {
  if (tokens_.size() > num_scored_) cut_window(tokens_.size() - num_scored_, windows);
  tokens_ = {end_of_document_};
  num_scored_ = 1;
}

// The next num_scored tokens, behind as many as make the window whole.
void RollingWindows::cut_window(std::size_t num_scored, std::vector<ScoredText>& windows) {
  const std::size_t end = num_scored_ + num_scored;
  const std::size_t begin = end - std::min(end, length_ + 1);
  windows.push_back({{tokens_.begin() + static_cast<std::ptrdiff_t>(begin),
                      tokens_.begin() + static_cast<std::ptrdiff_t>(end)},
                     num_scored_ - begin});
  num_scored_ = end;
}

}  // namespace dualpath
