#include "launcher/evaluate/text_packing.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace dualpath {

namespace {

// What two texts must have alike to share their row t.
std::pair<std::int32_t, std::int32_t> key(const ScoredText& text, std::size_t t) {
  return {text.tokens[t], text.target(t)};
}

// The rows that two texts share.
std::size_t common_rows(const ScoredText& a, const ScoredText& b) {
  const std::size_t most = std::min(a.num_rows(), b.num_rows());
  std::size_t t = 0;
  while (t < most && key(a, t) == key(b, t)) ++t;
  return t;
}

bool comes_before(const ScoredText& a, const ScoredText& b) {
  const std::size_t t = common_rows(a, b);
  if (t == a.num_rows() || t == b.num_rows()) return a.num_rows() < b.num_rows();
  return key(a, t) < key(b, t);
}

// The stretches of rows that the texts of a pack, sorted, have in common: a tree.
class SharedStretches {
 public:
  struct Stretch {
    std::size_t text;        // of the pack, one that goes through it
    std::size_t begin, end;  // rows of the text
    std::int32_t parent;
    bool is_scored;
  };
  SharedStretches(std::span<const ScoredText> texts, const TextPack& pack)
      : texts_(texts), pack_(pack), last_(pack.size(), -1) {
    add(0, pack.size(), 0, -1);
  }
  const std::vector<Stretch>& stretches() const { return stretches_; }  // parents come before
  // In which the pack's i'th text ends.
  std::int32_t last(std::size_t i) const { return last_[i]; }
  const ScoredText& text(std::size_t i) const { return texts_[pack_[i]]; }

 private:
  // The texts [first, last) agree in their first `length` rows, which end in stretch `parent`.
  void add(std::size_t first, std::size_t last, std::size_t length, std::int32_t parent) {
    for (; first < last && text(first).num_rows() == length; ++first) last_[first] = parent;
    while (first < last) {
      std::size_t end = first + 1;
      while (end < last && key(text(end), length) == key(text(first), length)) ++end;
      const ScoredText& one = text(first);
      std::size_t common = end - 1 == first ? one.num_rows() : common_rows(one, text(end - 1));
      // What is scored has stretches of its own.
      const std::size_t unscored = one.first_scored - 1;
      if (length < unscored) common = std::min(common, unscored);
      stretches_.push_back({first, length, common, parent, length >= unscored});
      add(first, end, common, static_cast<std::int32_t>(stretches_.size()) - 1);
      first = end;
    }
  }

  std::span<const ScoredText> texts_;
  const TextPack& pack_;
  std::vector<Stretch> stretches_;
  std::vector<std::int32_t> last_;
};

}  // namespace

std::vector<TextPack> pack_texts(std::span<const ScoredText> texts, std::int64_t max_rows,
                                 Beginnings beginnings) {
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return comes_before(texts[a], texts[b]); });
  std::vector<TextPack> packs;
  std::size_t rows = 0;
  for (const std::size_t text : order) {
    std::size_t more = texts[text].num_rows();
    if (!packs.empty() && beginnings == Beginnings::shared)
      more -= common_rows(texts[text], texts[packs.back().back()]);
    if (packs.empty() || rows + more > static_cast<std::size_t>(max_rows)) {
      packs.emplace_back();
      rows = 0;
      more = texts[text].num_rows();
    }
    packs.back().push_back(text);
    rows += more;
  }
  return packs;
}

PackRows rows_of_pack(std::span<const ScoredText> texts, const TextPack& pack) {
  const SharedStretches shared(texts, pack);
  PackRows packed;
  TextRows& rows = packed.rows;
  std::vector<std::int32_t> segment_of(shared.stretches().size(), -1);
  std::vector<std::int32_t> piece_of(shared.stretches().size(), -1);
  // The rows that are scored come last.
  for (const bool scored : {false, true}) {
    for (std::size_t i = 0; i < shared.stretches().size(); ++i) {
      const SharedStretches::Stretch& stretch = shared.stretches()[i];
      if (stretch.is_scored != scored) continue;
      const ScoredText& text = shared.text(stretch.text);
      const auto parent = static_cast<std::size_t>(stretch.parent);
      const bool has_parent = stretch.parent >= 0;
      const auto first_row = static_cast<std::int32_t>(rows.num_rows());
      if (scored) {
        piece_of[i] = static_cast<std::int32_t>(packed.pieces.size());
        packed.pieces.push_back(
            {has_parent ? piece_of[parent] : -1, rows.targets.size(), stretch.end - stretch.begin});
      }
      for (std::size_t t = stretch.begin; t < stretch.end; ++t) {
        rows.ids.push_back(text.tokens[t]);
        rows.positions.push_back(static_cast<std::int32_t>(t));
        if (scored) rows.targets.push_back(text.target(t));
      }
      segment_of[i] = static_cast<std::int32_t>(rows.segments.size());
      rows.segments.push_back({first_row, static_cast<std::int32_t>(rows.num_rows()),
                               has_parent ? segment_of[parent] : -1});
    }
  }
  for (std::size_t i = 0; i < pack.size(); ++i)
    packed.last_piece.push_back(piece_of[static_cast<std::size_t>(shared.last(i))]);
  return packed;
}

TextRows separate_rows(std::span<const ScoredText> texts, const TextPack& pack) {
  TextRows rows;
  for (const std::size_t index : pack) {
    const ScoredText& text = texts[index];
    const auto row = static_cast<std::int32_t>(rows.num_rows());
    for (std::size_t t = 0; t < text.num_rows(); ++t) {
      rows.ids.push_back(text.tokens[t]);
      rows.positions.push_back(static_cast<std::int32_t>(t));
      rows.targets.push_back(text.target(t));
    }
    rows.segments.push_back({row, static_cast<std::int32_t>(rows.num_rows()), -1});
  }
  return rows;
}

}  // namespace dualpath
