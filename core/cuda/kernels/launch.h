// How a kernel is launched: how many blocks and threads it gets, and sums over tokens. The files of
// this folder hold the kernels by theme, and for each operation of core/ops/ops.h a launch():
//
//   void launch(auto& on, const op::RowDot& op);
//
// `on` is a launcher, which runs the kernels: on a CUDA stream (core/cuda/cuda_launcher.h), or on
// the host, in the tests' emulator. It has
//
//   template <class Kernel> void launch(std::int64_t blocks, int threads, std::size_t shared_bytes,
//                                       const Kernel& kernel);
//   void* workspace(std::size_t bytes);   // until the next call, in the order of the launches
//   int full_grid() const;                // blocks that keep the device busy
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/base/element_types.h"
#include "core/cuda/kernels/block.h"
#include "core/ops/ops.h"

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

void launch_blocks(auto& on, std::int64_t blocks, int threads, std::size_t shared_bytes,
                   const auto& kernel) {
  if (blocks > 0) on.launch(blocks, threads, shared_bytes, kernel);
}

// A block a row.
void launch_rows(auto& on, std::int64_t rows, std::int64_t width, const auto& kernel) {
  launch_blocks(on, rows, row_threads(width, 1), 0, kernel);
}

// Threads for packs of `pack` elements; what does not fit the grid comes in later turns.
void launch_elements(auto& on, std::int64_t count, int pack, const auto& kernel) {
  const std::int64_t wanted = (count + block_threads * pack - 1) / (block_threads * pack);
  launch_blocks(on, std::min<std::int64_t>(wanted, 8 * on.full_grid()), block_threads, 0, kernel);
}

std::int64_t warp_blocks(const auto& on, std::int64_t items) {
  const std::int64_t warps = block_threads / warp_size;
  return std::min<std::int64_t>((items + warps - 1) / warps, 4 * on.full_grid());
}

void launch_warps(auto& on, std::int64_t items, const auto& kernel) {
  launch_blocks(on, warp_blocks(on, items), block_threads, 0, kernel);
}

// ---- sums over tokens, in two steps: every block leaves a row of partial sums, and the totals add
// those up in order of the blocks

// Blocks that share the rows of a sum over tokens.
std::int64_t summing_blocks(const auto& on, std::int64_t tokens) {
  return std::min<std::int64_t>(tokens, on.full_grid());
}

// Memory for [blocks, columns], until the next call.
template <class T>
T* partial_sums(auto& on, std::int64_t blocks, std::int64_t columns) {
  return static_cast<T*>(on.workspace(static_cast<std::size_t>(blocks * columns) * sizeof(T)));
}

// total_C (+)= Σ_blocks partial[block, C]
template <class T>
struct ColumnTotals {
  T* total_C;
  const T* partial;
  std::int64_t blocks, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, columns, [&](std::int64_t c) {
      T sum = 0;
      for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b * columns + c];
      total_C[c] += sum;
    });
  }
};

// first_A += columns [0, A) of Σ_blocks partial[block, C], second += the others.
struct SplitTotals {
  float* first_A;
  float* second;
  const float* partial;
  std::int64_t blocks, first_columns, columns;
  template <class Thread>
  DUALPATH_HOST_DEVICE void operator()(Thread& t) const {
    for_each_pack_of_grid<1>(t, columns, [&](std::int64_t c) {
      float sum = 0;
      for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b * columns + c];
      (c < first_columns ? first_A[c] : second[c - first_columns]) += sum;
    });
  }
};

// totals: ColumnTotals or SplitTotals
void add_columns(auto& on, const auto& totals) {
  launch_elements(on, totals.columns, 1, totals);
}

}  // namespace dualpath::gpu
