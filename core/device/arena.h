// Arena: stack-like memory for activations. Its size is found by a dry run (a measuring arena hands
// out tensors without memory); then it is backed once, and a step only moves an offset.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/base/tensor.h"
#include "core/device/device.h"

namespace dualpath {

struct CategoryBytes {
  std::string_view category;
  std::size_t bytes;
};

class Arena {
 public:
  // Measures: allocate() returns tensors whose data is null, and the peak is recorded.
  Arena() = default;
  // Hands out the memory of `backing`.
  explicit Arena(Buffer backing) : backing_(std::move(backing)), measuring_(false) {}

  // Uninitialised, aligned to 256 bytes; lives until release() of an earlier mark. `category` is a
  // string literal, used while measuring only.
  Tensor allocate(DType dtype, Shape shape, std::string_view category);

  std::size_t mark() const { return used_; }
  void release(std::size_t mark);

  // Gives the memory back to a caller that keeps the tensors laid out in it.
  Buffer take_backing() && { return std::move(backing_); }

  bool measuring() const { return measuring_; }
  std::size_t peak_bytes() const { return peak_; }
  // While measuring: what filled the arena at its peak, largest first.
  std::vector<CategoryBytes> peak_by_category() const;

 private:
  struct Piece {
    std::string_view category;
    std::size_t bytes;
  };
  Buffer backing_;
  bool measuring_ = true;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  std::vector<Piece> pieces_;       // measuring only: the live pieces, oldest first
  std::vector<Piece> peak_pieces_;  // measuring only
};

// Releases on leaving the scope all that was allocated within it.
class ArenaFrame {
 public:
  explicit ArenaFrame(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaFrame() { arena_.release(mark_); }
  ArenaFrame(const ArenaFrame&) = delete;
  ArenaFrame& operator=(const ArenaFrame&) = delete;

 private:
  Arena& arena_;
  std::size_t mark_;
};

}  // namespace dualpath
