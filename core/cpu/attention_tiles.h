// Small matrix products on blocks that lie in cache, for attention. Blocks are row-major; their
// columns are vector lanes.
#pragma once

#include <cstdint>

#include "core/cpu/vector.h"

namespace dualpath {

// Sums, columns and a factor fit the registers: 19 of 32 with 16 lanes, 11 of 16 with 8.
inline constexpr int tile_rows = vector_lanes / 2;
inline constexpr int tile_columns = 2 * vector_lanes;

// A matrix read one unit (attention_numbers.h) at a time: unit (i, k) is data[i·row + k·step].
struct Factors {
  const float* data;
  std::int64_t row, step;
};

// Rows aligned to vectors, `row` floats apart, a multiple of vector_lanes.
template <class Float>
struct Lanes {
  Float* data;
  std::int64_t row;
};

// c[rows × tile_columns] (= scale·, or += with accumulate) a·b over `steps` inner units.
template <class Numbers, int rows, bool accumulate>
inline void multiply_tile(Lanes<float> c, Factors a, Lanes<const float> b, std::int64_t steps,
                          float scale) {
  Vector sums[rows][2] = {};
  if constexpr (accumulate) {
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const auto* row = reinterpret_cast<const Vector*>(c.data + i * c.row);
      sums[i][0] = row[0];
      sums[i][1] = row[1];
    }
  }
  for (std::int64_t k = 0; k < steps; ++k) {
    const auto* columns = reinterpret_cast<const Vector*>(b.data + k * b.row);
    const Vector left = columns[0];
    const Vector right = columns[1];
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const float factor = a.data[i * a.row + k * a.step];
      sums[i][0] = Numbers::multiply_add(sums[i][0], factor, left);
      sums[i][1] = Numbers::multiply_add(sums[i][1], factor, right);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    auto* row = reinterpret_cast<Vector*>(c.data + i * c.row);
    row[0] = accumulate ? sums[i][0] : sums[i][0] * scale;
    row[1] = accumulate ? sums[i][1] : sums[i][1] * scale;
  }
}

struct BlockShape {
  std::int64_t rows, columns, steps;
};

// c[rows × columns] (= scale·, or += with accumulate) a·b, columns a multiple of tile_columns.
template <class Numbers, bool accumulate>
void multiply_block(Lanes<float> c, Factors a, Lanes<const float> b, BlockShape shape,
                    float scale = 1) {
  for (std::int64_t column = 0; column < shape.columns; column += tile_columns) {
    const Lanes<const float> columns{b.data + column, b.row};
    const auto tile = [&]<int rows>(std::int64_t i) {
      multiply_tile<Numbers, rows, accumulate>({c.data + i * c.row + column, c.row},
                                               {a.data + i * a.row, a.row, a.step}, columns,
                                               shape.steps, scale);
    };
    std::int64_t i = 0;
    for (; i + tile_rows <= shape.rows; i += tile_rows) tile.template operator()<tile_rows>(i);
    for (; i < shape.rows; ++i) tile.template operator()<1>(i);
  }
}

}  // namespace dualpath
