#include "core/device/arena.h"

#include <algorithm>

namespace dualpath {

namespace {
constexpr std::size_t alignment = 256;
constexpr std::size_t align_up(std::size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}
}  // namespace

Tensor Arena::allocate(DType dtype, Shape shape, std::string_view category) {
  Tensor tensor{nullptr, dtype, shape};
  const std::size_t bytes = align_up(tensor.bytes());
  if (!measuring_) {
    CHECK(used_ + bytes <= backing_.bytes(),
          "arena of {} bytes is too small: {} used, {} more asked for {} ({})", backing_.bytes(),
          used_, bytes, category, shape.str());
    tensor.data = backing_.data() + used_;
  }
  used_ += bytes;
  if (measuring_) pieces_.push_back({category, bytes});
  if (used_ > peak_) {
    peak_ = used_;
    if (measuring_) peak_pieces_ = pieces_;
  }
  return tensor;
}

void Arena::release(std::size_t mark) {
  CHECK(mark <= used_, "arena released to {} while only {} bytes are in use", mark, used_);
  if (measuring_) {
    for (std::size_t freed = used_ - mark; freed > 0;) {
      freed -= pieces_.back().bytes;
      pieces_.pop_back();
    }
  }
  used_ = mark;
}

std::vector<CategoryBytes> Arena::peak_by_category() const {
  std::vector<CategoryBytes> totals;
  for (const Piece& piece : peak_pieces_) {
    auto it = std::find_if(totals.begin(), totals.end(),
                           [&](const CategoryBytes& c) { return c.category == piece.category; });
    if (it == totals.end()) {
      totals.push_back({piece.category, piece.bytes});
    } else {
      it->bytes += piece.bytes;
    }
  }
  std::stable_sort(
      totals.begin(), totals.end(),
      [](const CategoryBytes& a, const CategoryBytes& b) { return a.bytes > b.bytes; });
  return totals;
}

}  // namespace dualpath
