// What a kernel sees of the block that runs it. A kernel is a struct of operands whose operator()
// takes a Thread:
//
//   template <class Thread> DUALPATH_HOST_DEVICE void operator()(Thread& t) const;
//
// with t.block(), t.num_blocks(), t.index(), t.size() (threads of the block, a multiple of 32),
// t.barrier(), and among the 32 threads of a warp t.shuffle(value, lane), t.shuffle_xor(value,
// mask), t.ballot(flag). t.shared() is the block's shared memory, behind what the reductions here
// use. nvcc compiles it for the GPU; the emulator of the tests runs the same source on the host.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/base/host_device.h"

namespace dualpath::gpu {

inline constexpr int warp_size = 32;
inline constexpr int max_warps = 32;
// Shared memory that the reductions use, besides what a launch asks for.
inline constexpr std::size_t reduction_bytes = max_warps * sizeof(double);

struct Sum {
  template <class T>
  DUALPATH_HOST_DEVICE static T combine(T a, T b) {
    return a + b;
  }
};
struct Max {
  template <class T>
  DUALPATH_HOST_DEVICE static T combine(T a, T b) {
    return a > b ? a : b;
  }
};

// The same result in all lanes, in the same order of additions.
template <class Combine, class T, class Thread>
DUALPATH_HOST_DEVICE T warp_reduce(Thread& t, T value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2)
    value = Combine::combine(value, t.shuffle_xor(value, mask));
  return value;
}

// The same result in all threads of the block. All of them take part.
template <class Combine, class T, class Thread>
DUALPATH_HOST_DEVICE T block_reduce(Thread& t, T value) {
  value = warp_reduce<Combine>(t, value);
  if (t.size() == warp_size) return value;
  T* of_warp = static_cast<T*>(t.reduction_memory());
  t.barrier();  // an earlier reduction has been read
  if (t.index() % warp_size == 0) of_warp[t.index() / warp_size] = value;
  t.barrier();
  value = of_warp[0];
  for (int w = 1; w < t.size() / warp_size; ++w) value = Combine::combine(value, of_warp[w]);
  return value;
}

template <class T, class Thread>
DUALPATH_HOST_DEVICE T block_sum(Thread& t, T value) {
  return block_reduce<Sum>(t, value);
}

// N elements that are read and written as one.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T at[N];
};

template <int N, class T>
DUALPATH_HOST_DEVICE Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
DUALPATH_HOST_DEVICE void store(T* to, const Pack<T, N>& values) {
  *reinterpret_cast<Pack<T, N>*>(to) = values;
}

// body(i) for the packs of N elements of a row that this thread of the block has.
template <int N, class Thread, class Body>
DUALPATH_HOST_DEVICE void for_each_pack(const Thread& t, std::int64_t width, const Body& body) {
  for (std::int64_t i = static_cast<std::int64_t>(t.index()) * N; i < width;
       i += static_cast<std::int64_t>(t.size()) * N)
    body(i);
}

// The same of all elements of a grid.
template <int N, class Thread, class Body>
DUALPATH_HOST_DEVICE void for_each_pack_of_grid(const Thread& t, std::int64_t count,
                                                const Body& body) {
  const std::int64_t first = static_cast<std::int64_t>(t.block()) * t.size() + t.index();
  for (std::int64_t i = first * N; i < count;
       i += static_cast<std::int64_t>(t.num_blocks()) * t.size() * N)
    body(i);
}

DUALPATH_HOST_DEVICE inline float sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
DUALPATH_HOST_DEVICE inline float softplus(float x) {
  return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}
// softplus(*gain), or 1 where there is none.
DUALPATH_HOST_DEVICE inline float residual_scale(const float* gain) {
  return gain == nullptr ? 1.0F : softplus(*gain);
}

}  // namespace dualpath::gpu
