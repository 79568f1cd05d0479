// LaunchingOps: what all launches have in common, on which the layers *_ops.h stand: how many
// blocks and threads a kernel gets, and sums over tokens. A Launcher runs the kernels: on a CUDA
// stream, or in the tests' emulator on the host.
//
//   template <class Kernel> void launch(std::int64_t blocks, int threads, std::size_t shared_bytes,
//                                       const Kernel& kernel);
//   void* workspace(std::size_t bytes);   // until the next call, in the order of the launches
//   int full_grid() const;                // blocks that keep the device busy
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "core/cuda/row_kernels.h"
#include "core/element_types.h"
#include "core/ops.h"
#include "core/ops_checks.h"

namespace dualpath::gpu {

inline constexpr int block_threads = 256;

// Threads for rows of this width, each with `pack` elements or more.
inline int row_threads(std::int64_t width, int pack) {
  const std::int64_t warps = (width + warp_size * pack - 1) / (warp_size * pack);
  return static_cast<int>(std::min<std::int64_t>(std::max<std::int64_t>(warps, 1), 8)) * warp_size;
}

// Whether four elements of each tensor, in rows of `width`, can be read as one.
inline bool takes_packs(std::int64_t width, std::initializer_list<Tensor> tensors) {
  bool aligned = width % 4 == 0;
  for (const Tensor& tensor : tensors) {
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
    aligned = aligned && address % (4 * size_of(tensor.dtype)) == 0;
  }
  return aligned;
}

// body.operator()<N>() with N = 4 or 1.
template <class Body>
void with_packs(bool packs, const Body& body) {
  if (packs) {
    body.template operator()<4>();
  } else {
    body.template operator()<1>();
  }
}

template <class T>
T* optional(Tensor tensor) {
  return tensor.empty() ? nullptr : tensor.as<T>();
}

template <class Launcher>
class LaunchingOps : public Ops {
 public:
  template <class... Args>
  explicit LaunchingOps(Args&&... args) : launcher_(std::forward<Args>(args)...) {}

 protected:
  template <class Kernel>
  void launch(std::int64_t blocks, int threads, std::size_t shared_bytes, const Kernel& kernel) {
    if (blocks > 0) launcher_.launch(blocks, threads, shared_bytes, kernel);
  }
  // A block a row.
  template <class Kernel>
  void launch_rows(std::int64_t rows, std::int64_t width, const Kernel& kernel) {
    launch(rows, row_threads(width, 1), 0, kernel);
  }
  // Threads for packs of `pack` elements; what does not fit the grid comes in later turns.
  template <class Kernel>
  void launch_elements(std::int64_t count, int pack, const Kernel& kernel) {
    const std::int64_t wanted = (count + block_threads * pack - 1) / (block_threads * pack);
    launch(std::min<std::int64_t>(wanted, 8 * launcher_.full_grid()), block_threads, 0, kernel);
  }
  std::int64_t warp_blocks(std::int64_t items) const {
    const std::int64_t warps = block_threads / warp_size;
    return std::min<std::int64_t>((items + warps - 1) / warps, 4 * launcher_.full_grid());
  }
  template <class Kernel>
  void launch_warps(std::int64_t items, const Kernel& kernel) {
    launch(warp_blocks(items), block_threads, 0, kernel);
  }

  // Blocks that share the rows of a sum over tokens.
  std::int64_t summing_blocks(std::int64_t tokens) const {
    return std::min<std::int64_t>(tokens, launcher_.full_grid());
  }
  // Memory for [blocks, columns], until the next call.
  float* partial_floats(std::int64_t blocks, std::int64_t columns) {
    return partial_sums<float>(blocks, columns);
  }
  double* partial_doubles(std::int64_t blocks, std::int64_t columns) {
    return partial_sums<double>(blocks, columns);
  }
  template <class T>
  void add_columns(T* total, const T* partial, std::int64_t blocks, std::int64_t columns) {
    launch_elements(columns, 1, ColumnTotals<T>{total, partial, blocks, columns});
  }
  void add_split_columns(float* first, float* second, const float* partial, std::int64_t blocks,
                         std::int64_t first_columns, std::int64_t columns) {
    launch_elements(columns, 1,
                    SplitTotals{first, second, partial, blocks, first_columns, columns});
  }

  Launcher launcher_;

 private:
  template <class T>
  T* partial_sums(std::int64_t blocks, std::int64_t columns) {
    return static_cast<T*>(
        launcher_.workspace(static_cast<std::size_t>(blocks * columns) * sizeof(T)));
  }
};

}  // namespace dualpath::gpu
