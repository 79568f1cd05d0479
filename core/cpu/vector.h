// The processor's vectors of floats, where loops under `#pragma omp simd` do not suffice.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "core/base/bfloat16.h"

namespace dualpath {

#ifdef __AVX512F__
inline constexpr int vector_lanes = 16;
#else
inline constexpr int vector_lanes = 8;
#endif

using Vector [[gnu::vector_size(vector_lanes * sizeof(float)), gnu::may_alias]] = float;

inline Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// Each bf16 is the upper half of its float.
inline Vector load(const bfloat16* from) {
  using Halves [[gnu::vector_size(vector_lanes * sizeof(std::uint16_t))]] = std::uint16_t;
  using Words [[gnu::vector_size(vector_lanes * sizeof(std::uint32_t))]] = std::uint32_t;
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  const Words words = __builtin_convertvector(halves, Words) << 16;
  return std::bit_cast<Vector>(words);
}

inline void store(float* to, Vector vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

// Rounds each float to nearest even.
inline void store(bfloat16* to, Vector vector) {
#ifdef __AVX512BF16__
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)vector);  // subnormals become 0
  std::memcpy(static_cast<void*>(to), &halves, sizeof halves);
#else
  float lanes[vector_lanes];
  std::memcpy(lanes, &vector, sizeof(vector));
#pragma omp simd
  for (int i = 0; i < vector_lanes; ++i) to[i] = lanes[i];
#endif
}

// How many of a vector's lanes are a row's elements: all, or the first `count`. The others are
// loaded with `other`.
struct AllLanes {};
struct FirstLanes {
  std::int64_t count;
};
template <class T>
Vector load(const T* from, AllLanes, float = 0) {
  return load(from);
}
template <class T>
Vector load(const T* from, FirstLanes lanes, float other = 0) {
  T elements[vector_lanes];
  std::fill_n(elements, vector_lanes, T(other));
  std::copy_n(from, lanes.count, elements);
  return load(elements);
}
template <class T>
void store(T* to, Vector vector, AllLanes) {
  store(to, vector);
}
template <class T>
void store(T* to, Vector vector, FirstLanes lanes) {
  T elements[vector_lanes];
  store(elements, vector);
  std::copy_n(elements, lanes.count, to);
}

// body(i, lanes) for the elements [i, i + vector_lanes) of a row of n.
template <class Body>
void for_each_vector(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + vector_lanes <= n; i += vector_lanes) body(i, AllLanes{});
  if (i < n) body(i, FirstLanes{n - i});
}

// The sum of all lanes, by halves.
inline float lane_sum(Vector vector) {
  float lanes[vector_lanes];
  std::memcpy(lanes, &vector, sizeof(vector));
#pragma GCC unroll 4
  for (int half = vector_lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

}  // namespace dualpath
