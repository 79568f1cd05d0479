#include "data/text/encoder.h"

#define XXH_INLINE_ALL
#include <algorithm>
#include <xxhash.h>

namespace dualpath {
namespace {

constexpr std::size_t cache_slots = 1 << 15;

}  // namespace

Encoder::Encoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer), cache_(cache_slots) {}

void Encoder::encode(std::string_view text, std::vector<std::uint32_t>& ids) {
  tokenizer_->segmenter().segment(
      text, SpecialTokens::as_text, [&](std::string_view piece) { encode_piece(piece, ids); },
      [&](std::uint32_t id) { ids.push_back(id); });
}

inline void Encoder::encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids) {
  if (piece.size() > Entry::max_bytes) return tokenizer_->encode_piece(piece, ids);
  Entry& entry = cache_[XXH3_64bits(piece.data(), piece.size()) % cache_slots];
  if (piece == std::string_view(entry.bytes, entry.num_bytes)) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.num_ids);
    return;
  }
  const std::size_t first = ids.size();
  tokenizer_->encode_piece(piece, ids);
  const std::size_t count = ids.size() - first;
  if (count > Entry::max_ids) return;
  entry.num_bytes = static_cast<std::uint8_t>(piece.size());
  entry.num_ids = static_cast<std::uint8_t>(count);
  std::copy(piece.begin(), piece.end(), entry.bytes);
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), entry.ids);
}

}  // namespace dualpath
