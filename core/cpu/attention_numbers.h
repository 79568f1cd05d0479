// The numbers in attention's blocks, in units of four bytes: a float, or a pair of bf16 that
// AVX512_BF16 multiplies and adds at once. A pair joins neighbours in the direction that a product
// sums over; an odd one out goes with 0. Blocks of units are arrays of float whose bits they are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "core/cpu/attention_blocks.h"
#include "core/cpu/transpose.h"
#include "core/cpu/vector.h"

namespace dualpath {

// Rows of a head, elements of type O, as floats.
template <class O>
struct Floats {
  static constexpr std::int64_t per_unit = 1;

  static Vector multiply_add(Vector sum, float factor, Vector columns) {
    return sum + factor * columns;
  }
  // out[i][e], pairs along e; rows of `stride` units, padded with zeros.
  static void load_rows(float* out, std::int64_t stride, HeadRows<const O> in, std::int64_t first,
                        std::int64_t rows, std::int64_t E) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const O* row = in[first + i];
      float* to = out + i * stride;
#pragma omp simd
      for (std::int64_t e = 0; e < E; ++e) to[e] = row[e];
      std::fill(to + E, to + stride, 0.0F);
    }
  }
  // out[i][e], pairs along i.
  static void load_row_pairs(float* out, std::int64_t stride, HeadRows<const O> in,
                             std::int64_t first, std::int64_t rows, std::int64_t E) {
    load_rows(out, stride, in, first, rows, E);
  }
  // out[e][lane] = in[first + lane][e], pairs along e; lanes beyond `rows` are zero.
  static void load_lanes(float* out, HeadRows<const O> in, std::int64_t first, std::int64_t rows,
                         std::int64_t E) {
    if (rows < chunk_queries) std::fill_n(out, E * chunk_queries, 0.0F);
    transpose(out, chunk_queries, in[first], in.stride, std::min(rows, chunk_queries), E);
  }
  // Rows of floats, `columns` each, as units that pair rows (columns): made in `memory`, or the
  // rows themselves.
  static const float* pair_rows(float*, const float* rows, std::int64_t, std::int64_t,
                                std::int64_t) {
    return rows;
  }
  static const float* pair_columns(float*, const float* rows, std::int64_t, std::int64_t) {
    return rows;
  }
};

#ifdef __AVX512BF16__
struct Bf16Pairs {
  static constexpr std::int64_t per_unit = 2;
  using Rows = HeadRows<const bfloat16>;

  static Vector multiply_add(Vector sum, float factor, Vector columns) {
    const __m512 factors = _mm512_set1_ps(factor);
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)factors, (__m512bh)columns);
  }
  static void load_rows(float* out, std::int64_t stride, Rows in, std::int64_t first,
                        std::int64_t rows, std::int64_t E) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::memcpy(out + i * stride, in[first + i], static_cast<std::size_t>(E) * sizeof(bfloat16));
      std::fill(out + i * stride + E / 2, out + (i + 1) * stride, 0.0F);
    }
  }
  static void load_row_pairs(float* out, std::int64_t stride, Rows in, std::int64_t first,
                             std::int64_t rows, std::int64_t E) {
    for (std::int64_t i = 0; i < rows; i += 2) {
      const bfloat16* a = in[first + i];
      const bfloat16* b = i + 1 < rows ? in[first + i + 1] : a;
      const std::uint32_t keep_b = i + 1 < rows ? 0xffffU : 0;
      float* to = out + i / 2 * stride;
#pragma omp simd
      for (std::int64_t e = 0; e < E; ++e)
        to[e] = std::bit_cast<float>(a[e].bits | (b[e].bits & keep_b) << 16);
      std::fill(to + E, to + stride, 0.0F);
    }
  }
  // Rows of pairs are transposed as rows of E/2 floats.
  static void load_lanes(float* out, Rows in, std::int64_t first, std::int64_t rows,
                         std::int64_t E) {
    if (rows < chunk_queries) std::fill_n(out, E / 2 * chunk_queries, 0.0F);
    transpose(out, chunk_queries, reinterpret_cast<const float*>(in[first]), in.stride / 2,
              std::min(rows, chunk_queries), E / 2);
  }
  static const float* pair_rows(float* memory, const float* rows, std::int64_t row,
                                std::int64_t count, std::int64_t columns) {
    for (std::int64_t i = 0; i < count; i += 2) {
      for (std::int64_t c = 0; c < columns; c += vector_lanes) {
        const Words low = rounded(rows + i * row + c);
        const Words high = i + 1 < count ? rounded(rows + (i + 1) * row + c) : Words{};
        const Words pairs = low | high << 16;
        std::memcpy(memory + i / 2 * columns + c, &pairs, sizeof pairs);
      }
    }
    return memory;
  }
  static const float* pair_columns(float* memory, const float* rows, std::int64_t count,
                                   std::int64_t columns) {
    for (std::int64_t i = 0; i < count * columns; i += vector_lanes) {
      const __m256bh halves = _mm512_cvtneps_pbh((__m512)load(rows + i));
      std::memcpy(memory + i / 2, &halves, sizeof halves);
    }
    return memory;
  }

 private:
  using Words [[gnu::vector_size(vector_lanes * sizeof(std::uint32_t))]] = std::uint32_t;
  using Halves [[gnu::vector_size(vector_lanes * sizeof(std::uint16_t))]] = std::uint16_t;
  // Floats as bf16 in the lower halves.
  static Words rounded(const float* from) {
    return __builtin_convertvector((Halves)_mm512_cvtneps_pbh((__m512)load(from)), Words);
  }
};
template <class O>
using NumbersOf = std::conditional_t<std::is_same_v<O, bfloat16>, Bf16Pairs, Floats<O>>;
#else
template <class O>
using NumbersOf = Floats<O>;
#endif

// Units that hold `count` numbers.
template <class Numbers>
constexpr std::int64_t units(std::int64_t count) {
  return (count + Numbers::per_unit - 1) / Numbers::per_unit;
}

}  // namespace dualpath
