#include "data/text/piece_counts.h"

#define XXH_INLINE_ALL
#include <limits>
#include <utility>
#include <xxhash.h>

namespace dualpath {

PieceCounts::PieceCounts(std::uint64_t max_bytes) : max_bytes_(max_bytes), slots_(64) {}

PieceCounts::Slot& PieceCounts::find(std::string_view piece, std::uint64_t hash) {
  std::size_t i = hash & (slots_.size() - 1);
  while (slots_[i].count > 0 && (slots_[i].hash != hash || piece_of(slots_[i]) != piece)) {
    i = (i + 1) & (slots_.size() - 1);
  }
  return slots_[i];
}

void PieceCounts::add(std::string_view piece, std::int64_t count) {
  const std::uint64_t hash = XXH3_64bits(piece.data(), piece.size());
  Slot& slot = find(piece, hash);
  if (slot.count > 0) {
    slot.count += count;
    return;
  }
  slot = {text_.size(), piece.size(), hash, count};
  text_ += piece;
  ++size_;
  if (cost() > max_bytes_) drop_rare();
  if (3 * size_ > 2 * slots_.size()) grow();
}

void PieceCounts::add_text(const Segmenter& segmenter, std::string_view text) {
  segmenter.segment(
      text, SpecialTokens::as_text, [&](std::string_view piece) { add(piece, 1); },
      [](std::uint32_t) {});
}

void PieceCounts::add(const PieceCounts& other) {
  other.for_each([&](std::string_view piece, std::int64_t count) { add(piece, count); });
}

void PieceCounts::grow() {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
  for (const Slot& slot : old) {
    if (slot.count > 0) find(piece_of(slot), slot.hash) = slot;
  }
}

void PieceCounts::drop_rare() {
  std::int64_t threshold = 1;
  for (; cost() > max_bytes_ / 2; threshold *= 2) {
    PieceCounts kept(std::numeric_limits<std::uint64_t>::max());
    for_each([&](std::string_view piece, std::int64_t count) {
      if (count > threshold) kept.add(piece, count);
    });
    std::swap(slots_, kept.slots_);
    std::swap(text_, kept.text_);
    size_ = kept.size_;
  }
  max_error_ += threshold / 2;
}

}  // namespace dualpath
