// The processor's vectors of floats, where loops under `#pragma omp simd` do not suffice.
#pragma once

#include <cstring>

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

inline void store(float* to, Vector vector) {
  std::memcpy(to, &vector, sizeof(vector));
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
