#include "launcher/evaluate/text_packing.h"

#include <algorithm>
#include <numeric>

namespace dualpath {

namespace {

using Tokens = std::span<const std::int32_t>;

std::size_t common_length(Tokens a, Tokens b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// Makes a segment for each stretch of tokens that the texts [first, last) of a pack, sorted by
// their beginnings, have in common.
class BeginningRows {
 public:
  BeginningRows(std::span<const ScoredText> texts, const TextPack& pack, TextRows& rows)
      : texts_(texts), pack_(pack), rows_(rows), last_segment_(pack.size(), -1) {
    add(0, pack.size(), 0, -1);
  }

  // The segment in which the beginning of the pack's i'th text ends; -1: it has none.
  std::int32_t last_segment(std::size_t i) const { return last_segment_[i]; }

 private:
  Tokens beginning(std::size_t i) const { return texts_[pack_[i]].beginning(); }

  // The texts agree in their first `length` tokens, which end in segment `parent`.
  void add(std::size_t first, std::size_t last, std::size_t length, std::int32_t parent) {
    for (; first < last && beginning(first).size() == length; ++first)
      last_segment_[first] = parent;
    while (first < last) {
      std::size_t end = first + 1;
      while (end < last && beginning(end)[length] == beginning(first)[length]) ++end;
      const std::size_t common = common_length(beginning(first), beginning(end - 1));
      add(first, end, common, append(beginning(first), length, common, parent));
      first = end;
    }
  }

  std::int32_t append(Tokens text, std::size_t begin, std::size_t end, std::int32_t parent) {
    const auto row = static_cast<std::int32_t>(rows_.num_rows());
    for (std::size_t t = begin; t < end; ++t) {
      rows_.ids.push_back(text[t]);
      rows_.positions.push_back(static_cast<std::int32_t>(t));
    }
    rows_.segments.push_back({row, static_cast<std::int32_t>(rows_.num_rows()), parent});
    return static_cast<std::int32_t>(rows_.segments.size()) - 1;
  }

  std::span<const ScoredText> texts_;
  const TextPack& pack_;
  TextRows& rows_;
  std::vector<std::int32_t> last_segment_;
};

}  // namespace

std::vector<TextPack> pack_texts(std::span<const ScoredText> texts, std::int64_t max_rows,
                                 Beginnings beginnings) {
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return std::ranges::lexicographical_compare(texts[a].beginning(), texts[b].beginning());
  });
  std::vector<TextPack> packs;
  std::size_t rows = 0;
  for (const std::size_t text : order) {
    const std::size_t alone = texts[text].tokens.size() - 1;
    std::size_t more = alone;
    if (!packs.empty() && beginnings == Beginnings::shared)
      more -= common_length(texts[text].beginning(), texts[packs.back().back()].beginning());
    if (packs.empty() || rows + more > static_cast<std::size_t>(max_rows)) {
      packs.emplace_back();
      rows = 0;
      more = alone;
    }
    packs.back().push_back(text);
    rows += more;
  }
  return packs;
}

TextRows rows_of_pack(std::span<const ScoredText> texts, const TextPack& pack) {
  TextRows rows;
  const BeginningRows beginnings(texts, pack, rows);
  for (std::size_t i = 0; i < pack.size(); ++i) {
    const ScoredText& text = texts[pack[i]];
    const auto row = static_cast<std::int32_t>(rows.num_rows());
    for (std::size_t t = text.first_scored; t < text.tokens.size(); ++t) {
      rows.ids.push_back(text.tokens[t - 1]);
      rows.positions.push_back(static_cast<std::int32_t>(t - 1));
      rows.targets.push_back(text.tokens[t]);
    }
    rows.segments.push_back(
        {row, static_cast<std::int32_t>(rows.num_rows()), beginnings.last_segment(i)});
  }
  return rows;
}

TextRows separate_rows(std::span<const ScoredText> texts, const TextPack& pack) {
  TextRows rows;
  for (const std::size_t index : pack) {
    const ScoredText& text = texts[index];
    const auto row = static_cast<std::int32_t>(rows.num_rows());
    for (std::size_t t = 1; t < text.tokens.size(); ++t) {
      rows.ids.push_back(text.tokens[t - 1]);
      rows.positions.push_back(static_cast<std::int32_t>(t - 1));
      rows.targets.push_back(t < text.first_scored ? -1 : text.tokens[t]);
    }
    rows.segments.push_back({row, static_cast<std::int32_t>(rows.num_rows()), -1});
  }
  return rows;
}

}  // namespace dualpath
