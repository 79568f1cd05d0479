#include "data/text/segmenter.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "data/text/utf8.h"

namespace dualpath {
namespace {

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool has_inner_space(const AddedToken& token) {
  const auto begin = token.content.begin();
  const auto word = std::find_if_not(begin, token.content.end(), is_ascii_space);
  return std::any_of(word, token.content.end(), is_ascii_space);
}

}  // namespace

Segmenter::Segmenter(SplitRule rule, bool nfc, std::vector<AddedToken> added)
    : pre_tokenizer_(rule),
      normalizer_(nfc ? std::optional<NfcNormalizer>(std::in_place) : std::nullopt),
      added_(std::move(added)),
      raw_words_(words_of(false)),
      normalized_words_(words_of(true)),
      is_cuttable_(std::none_of(added_.begin(), added_.end(), has_inner_space)) {}

Segmenter::AddedWords Segmenter::words_of(bool normalized) const {
  std::vector<std::string> words;
  std::vector<std::size_t> indices;
  std::string buffer;
  bool all_special = true;
  for (std::size_t i = 0; i < added_.size(); ++i) {
    const AddedToken& token = added_[i];
    CHECK_AS(ExitCode::data, !token.content.empty(), "added token {} is empty", token.id);
    if (token.normalized != normalized) continue;
    const bool changes = normalized && normalizer_;
    words.emplace_back(changes ? normalizer_->normalize(token.content, buffer) : token.content);
    CHECK_AS(ExitCode::data, std::count(words.begin(), words.end(), words.back()) == 1,
             "the added token '{}' is given twice", token.content);
    indices.push_back(i);
    all_special = all_special && token.special;
  }
  return {std::move(indices), WordMatcher(words), all_special};
}

std::size_t Segmenter::last_safe_cut(std::string_view text) const {
  if (!is_cuttable_) return 0;
  for (std::size_t cut = text.size(); cut-- > 1;) {
    if (!pre_tokenizer_.is_safe_cut(text, cut)) continue;
    // Normalised, a letter may end with a mark, which takes line ends along.
    if (normalizer_ && !normalizer_->is_inert(decode_utf8_before(text, cut).code_point)) continue;
    return cut;
  }
  return 0;
}

}  // namespace dualpath
