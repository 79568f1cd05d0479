// Sums over many rows (tokens): the gradients of weight vectors, and scalars.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/cpu/parallel_for.h"
#include "core/cpu/scratch.h"

namespace dualpath {

// One thread's Σ of rows of floats: in float over blocks of 64 rows, in double over the blocks, so
// that 10^5 rows lose no more digits than 64.
class RowAccumulator {
 public:
  RowAccumulator(std::byte* memory, std::int64_t columns) : columns_(columns) {
    ScratchCutter cutter(memory);
    total_ = cutter.take<double>(columns);
    block_ = cutter.take<float>(columns);
    std::fill_n(total_, columns, 0.0);
    std::fill_n(block_, columns, 0.0F);
  }
  // Where `memory` holds the sums after flush().
  static double* totals(std::byte* memory) { return reinterpret_cast<double*>(memory); }
  static std::int64_t bytes(std::int64_t columns) {
    return ScratchCutter::bytes<double>(columns) + ScratchCutter::bytes<float>(columns);
  }

  // Where to add (+=) the next row.
  float* next_row() {
    if (rows_ == block_rows) flush();
    ++rows_;
    return block_;
  }
  void flush() {
#pragma omp simd
    for (std::int64_t c = 0; c < columns_; ++c) {
      total_[c] += static_cast<double>(block_[c]);
      block_[c] = 0;
    }
    rows_ = 0;
  }

 private:
  static constexpr int block_rows = 64;
  std::int64_t columns_;
  double* total_;
  float* block_;
  int rows_ = 0;
};

// The sum over all threads, added in thread order.
class RowSums {
 public:
  RowSums(Scratch& scratch, int num_threads, std::int64_t columns)
      : scratch_(&scratch), num_threads_(num_threads), columns_(columns) {
    scratch.reserve(RowAccumulator::bytes(columns));
  }
  // Each thread makes its own, zero at first, and flushes it when done.
  RowAccumulator accumulator(int thread) const { return {scratch_->of(thread), columns_}; }
  // Instead of an accumulator: the thread's column sums, zeroed, to be added to in f64 directly.
  double* totals(int thread) const {
    double* totals = RowAccumulator::totals(scratch_->of(thread));
    std::fill_n(totals, columns_, 0.0);
    return totals;
  }

  // out[c] += Σ_threads of column first + c, c < count
  template <class T>
  void add_to(T* out, std::int64_t first, std::int64_t count) const {
    for (std::int64_t c = first; c < first + count; ++c) {
      double sum = 0;
      for (int thread = 0; thread < num_threads_; ++thread)
        sum += RowAccumulator::totals(scratch_->of(thread))[c];
      *out++ += static_cast<T>(sum);
    }
  }

 private:
  Scratch* scratch_;
  int num_threads_;
  std::int64_t columns_;
};

// Σ of body(piece), f64, over the pieces of the loop in order.
template <class Body>
double sum_over(Scratch& scratch, int num_threads, Loop loop, const Body& body) {
  scratch.reserve(sizeof(double));
  const Scratch* partials = &scratch;
  parallel_for(num_threads, loop, [=, &body](Piece piece) {
    *reinterpret_cast<double*>(partials->of(piece.index)) = body(piece);
  });
  double sum = 0;
  for (int thread = 0; thread < num_threads; ++thread)
    sum += *reinterpret_cast<const double*>(scratch.of(thread));
  return sum;
}

}  // namespace dualpath
