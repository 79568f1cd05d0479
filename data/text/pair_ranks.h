// Pairs of adjacent tokens to ranks.
#pragma once

#include <cstdint>
#include <vector>

namespace dualpath {

// Open addressing with linear probing, at most half full.
class PairRanks {
 public:
  static constexpr std::uint32_t no_rank = 0xffffffff;

  explicit PairRanks(std::size_t num_pairs) {
    while ((std::size_t{1} << bits_) < 2 * num_pairs) ++bits_;
    slots_.resize(std::size_t{1} << bits_);
  }

  // False where the pair is there already. REQUIRES: no more than num_pairs; rank < no_rank.
  bool insert(std::uint32_t left, std::uint32_t right, std::uint32_t rank) {
    Slot& slot = slots_[find(left, right)];
    if (slot.rank != no_rank) return false;
    slot = {left, right, rank};
    return true;
  }

  std::uint32_t rank(std::uint32_t left, std::uint32_t right) const {
    return slots_[find(left, right)].rank;
  }

 private:
  struct Slot {
    std::uint32_t left = 0, right = 0;
    std::uint32_t rank = no_rank;  // no_rank: empty
  };

  // The slot of the pair, or the empty one where it belongs.
  std::size_t find(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = std::uint64_t{left} << 32 | right;
    std::size_t i = key * 0x9e3779b97f4a7c15 >> (64 - bits_);
    while (slots_[i].rank != no_rank && (slots_[i].left != left || slots_[i].right != right)) {
      i = (i + 1) & (slots_.size() - 1);
    }
    return i;
  }

  int bits_ = 4;
  std::vector<Slot> slots_;
};

}  // namespace dualpath
