// From text to what byte-level BPE works on: added tokens are taken out, the rest is normalised and
// falls into pieces. The order of these steps is that of Hugging Face's `tokenizers`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/added_tokens.h"
#include "data/text/nfc.h"
#include "data/text/pre_tokenizer.h"

namespace dualpath {

// Immutable; may be used by several threads at once.
class Segmenter {
 public:
  // nfc: the text is normalised to NFC. Throws Error(data) where an added token is empty or occurs
  // twice.
  explicit Segmenter(SplitRule rule, bool nfc = false, std::vector<AddedToken> added = {});

  const PreTokenizer& pre_tokenizer() const { return pre_tokenizer_; }
  bool nfc() const { return normalizer_.has_value(); }
  const std::vector<AddedToken>& added() const { return added_; }

  // Calls on_piece(std::string_view) and on_token(id) in the order of the text.
  template <class OnPiece, class OnToken>
  void segment(std::string_view text, SpecialTokens special, OnPiece&& on_piece,
               OnToken&& on_token) const;

  // The last position where `text` can be cut so that both parts, whatever follows, become the same
  // pieces and tokens as the whole. 0: none.
  std::size_t last_safe_cut(std::string_view text) const;

 private:
  struct AddedWords {
    std::vector<std::size_t> added;  // of each word its index in added_
    WordMatcher matcher;
    bool all_special;
  };

  AddedWords words_of(bool normalized) const;

  template <class OnText, class OnToken>
  void take_out(const AddedWords& words, std::string_view text, SpecialTokens special,
                OnText&& on_text, OnToken&& on_token) const;

  PreTokenizer pre_tokenizer_;
  std::optional<NfcNormalizer> normalizer_;
  std::vector<AddedToken> added_;
  AddedWords raw_words_, normalized_words_;
  bool is_cuttable_;  // no added token holds white space behind anything else
};

template <class OnText, class OnToken>
void Segmenter::take_out(const AddedWords& words, std::string_view text, SpecialTokens special,
                         OnText&& on_text, OnToken&& on_token) const {
  std::size_t begin = 0;
  if (special == SpecialTokens::recognized || !words.all_special) {
    std::size_t from = 0;
    while (const auto match = words.matcher.find(text, from)) {
      from = match->end;
      const AddedToken& token = added_[words.added[match->word]];
      // As text, a special token still hides what overlaps it.
      if (token.special && special == SpecialTokens::as_text) continue;
      if (match->begin > begin) on_text(text.substr(begin, match->begin - begin));
      on_token(token.id);
      begin = match->end;
    }
  }
  if (begin < text.size()) on_text(text.substr(begin));
}

template <class OnPiece, class OnToken>
void Segmenter::segment(std::string_view text, SpecialTokens special, OnPiece&& on_piece,
                        OnToken&& on_token) const {
  std::string buffer;
  const auto on_normalized = [&](std::string_view part) {
    for (std::size_t begin = 0; begin < part.size();) {
      const std::size_t end = pre_tokenizer_.piece_end(part, begin);
      on_piece(part.substr(begin, end - begin));
      begin = end;
    }
  };
  const auto on_raw = [&](std::string_view part) {
    if (normalizer_) part = normalizer_->normalize(part, buffer);
    take_out(normalized_words_, part, special, on_normalized, on_token);
  };
  take_out(raw_words_, text, special, on_raw, on_token);
}

}  // namespace dualpath
