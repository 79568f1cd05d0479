// Transposition of small blocks, through registers where whole vectors allow it.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "core/cpu/vector.h"

namespace dualpath {

// The lanes at the given indices of a and then b.
template <int... indices>
inline Vector shuffle(Vector a, Vector b) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, indices...);
#else  // gcc 11 does not have it
  using Indices [[gnu::vector_size(vector_lanes * sizeof(int))]] = int;
  return __builtin_shuffle(a, b, Indices{indices...});
#endif
}

// Exchanges the off-diagonal quarters of every 2·half × 2·half block (Eklundh).
template <int half, int... lane>
inline void exchange_quarters(Vector (&rows)[vector_lanes], std::integer_sequence<int, lane...>) {
#pragma GCC unroll 16
  for (int i = 0; i < vector_lanes; ++i) {
    if ((i & half) != 0) continue;
    const Vector upper = rows[i];
    const Vector lower = rows[i + half];
    rows[i] = shuffle<((lane & half) != 0 ? vector_lanes + lane - half : lane)...>(upper, lower);
    rows[i + half] =
        shuffle<((lane & half) != 0 ? vector_lanes + lane : lane + half)...>(upper, lower);
  }
}

// out[j][i] = in[i][j] for vector_lanes × vector_lanes elements.
template <class Out, class In>
void transpose_square(Out* out, std::int64_t out_row, const In* in, std::int64_t in_row) {
  Vector rows[vector_lanes];
#pragma GCC unroll 16
  for (int i = 0; i < vector_lanes; ++i) rows[i] = load(in + i * in_row);
  constexpr auto lanes = std::make_integer_sequence<int, vector_lanes>();
  exchange_quarters<1>(rows, lanes);
  exchange_quarters<2>(rows, lanes);
  exchange_quarters<4>(rows, lanes);
  if constexpr (vector_lanes == 16) exchange_quarters<vector_lanes / 2>(rows, lanes);
#pragma GCC unroll 16
  for (int i = 0; i < vector_lanes; ++i) store(out + i * out_row, rows[i]);
}

// Floats may be any bits (a pair of bf16).
inline void copy_element(float* out, const float* in) {
  std::memcpy(out, in, sizeof *out);
}
template <class Out, class In>
void copy_element(Out* out, const In* in) {
  *out = *in;
}

// out[j][i] = in[i][j], i < rows, j < columns; elements are float or bfloat16.
template <class Out, class In>
void transpose(Out* out, std::int64_t out_row, const In* in, std::int64_t in_row, std::int64_t rows,
               std::int64_t columns) {
  const std::int64_t whole_rows = rows / vector_lanes * vector_lanes;
  const std::int64_t whole_columns = columns / vector_lanes * vector_lanes;
  for (std::int64_t i = 0; i < whole_rows; i += vector_lanes)
    for (std::int64_t j = 0; j < whole_columns; j += vector_lanes)
      transpose_square(out + j * out_row + i, out_row, in + i * in_row + j, in_row);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      copy_element(out + j * out_row + i, in + i * in_row + j);
}

}  // namespace dualpath
