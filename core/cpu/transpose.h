// Transposition of small blocks, through registers where whole vectors allow it.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "core/cpu/vector.h"

namespace dualpath {

using LaneIndices [[gnu::vector_size(vector_lanes * sizeof(int))]] = int;

// Exchanges the off-diagonal quarters of every 2·half × 2·half block (Eklundh).
template <int half>
inline void exchange_quarters(Vector (&rows)[vector_lanes]) {
  constexpr auto indices = []<int... lane>(std::integer_sequence<int, lane...>, bool upper) {
    if (upper) return LaneIndices{((lane & half) != 0 ? vector_lanes + lane - half : lane)...};
    return LaneIndices{((lane & half) != 0 ? vector_lanes + lane : lane + half)...};
  };
  constexpr auto lanes = std::make_integer_sequence<int, vector_lanes>();
#pragma GCC unroll 16
  for (int i = 0; i < vector_lanes; ++i) {
    if ((i & half) != 0) continue;
    const Vector upper = rows[i];
    const Vector lower = rows[i + half];
    rows[i] = __builtin_shuffle(upper, lower, indices(lanes, true));
    rows[i + half] = __builtin_shuffle(upper, lower, indices(lanes, false));
  }
}

// out[j][i] = in[i][j] for vector_lanes × vector_lanes elements.
template <class Out, class In>
void transpose_square(Out* out, std::int64_t out_row, const In* in, std::int64_t in_row) {
  Vector rows[vector_lanes];
#pragma GCC unroll 16
  for (int i = 0; i < vector_lanes; ++i) rows[i] = load(in + i * in_row);
  exchange_quarters<1>(rows);
  exchange_quarters<2>(rows);
  exchange_quarters<4>(rows);
  if constexpr (vector_lanes == 16) exchange_quarters<vector_lanes / 2>(rows);
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
