// How often each piece of text occurs, in bounded memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/segmenter.h"

namespace dualpath {

class PieceCounts {
 public:
  // Room for about seven million different words; up to 0.9 GB with the table's spare slots.
  static constexpr std::uint64_t default_max_bytes = std::uint64_t{512} << 20;

  // max_bytes: of the pieces and 64 bytes for each. Beyond that the rarest pieces are dropped,
  // those that occur up to once, twice, 4, 8 ... times, until half of it is free.
  explicit PieceCounts(std::uint64_t max_bytes = default_max_bytes);

  // The pieces of `text`, which holds no added tokens.
  void add_text(const Segmenter& segmenter, std::string_view text);
  void add(const PieceCounts& other);
  // REQUIRES: count > 0.
  void add(std::string_view piece, std::int64_t count);

  std::size_t size() const { return size_; }
  // What was dropped: a piece occurs at most this much more often than counted. It depends on the
  // order of what was added, and on nothing else.
  std::int64_t max_error() const { return max_error_; }

  // f(std::string_view piece, std::int64_t count), in no order.
  template <class F>
  void for_each(F&& f) const {
    for (const Slot& slot : slots_) {
      if (slot.count > 0) f(piece_of(slot), slot.count);
    }
  }

 private:
  struct Slot {
    std::uint64_t begin = 0;  // in text_
    std::uint64_t bytes = 0;
    std::uint64_t hash = 0;
    std::int64_t count = 0;  // 0: empty
  };

  std::string_view piece_of(const Slot& slot) const {
    return std::string_view(text_).substr(slot.begin, slot.bytes);
  }
  std::uint64_t cost() const { return text_.size() + 64 * size_; }
  Slot& find(std::string_view piece, std::uint64_t hash);
  void grow();
  void drop_rare();

  std::uint64_t max_bytes_;
  std::int64_t max_error_ = 0;
  std::size_t size_ = 0;
  std::vector<Slot> slots_;  // a power of two, at most two thirds full
  std::string text_;         // the pieces, one after another
};

}  // namespace dualpath
