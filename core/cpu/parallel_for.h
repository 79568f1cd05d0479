// How every kernel spreads its work over threads. Bodies must not throw.
#pragma once

#include <cstdint>
#include <omp.h>

namespace dualpath {

struct Piece {
  int index;
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

// Piece `index` of `count` consecutive, nearly equal pieces of [0, size).
inline Piece piece_of(std::int64_t size, int index, int count) {
  return {index, size * index / count, size * (index + 1) / count};
}

// A loop over [0, size); cost is the number of elements that one index touches.
struct Loop {
  std::int64_t size;
  std::int64_t cost = 1;
  // Waking threads takes as long as a few thousand elements: less work than this stays alone.
  bool is_long() const { return size * cost >= 8192; }
};

// body(piece) for each of num_threads pieces of the loop. The cut depends on its arguments only,
// not on the team that OpenMP grants: results that depend on the cut are reproducible.
template <class Body>
void parallel_for(int num_threads, Loop loop, const Body& body) {
#pragma omp parallel for num_threads(num_threads) schedule(static) if (loop.is_long())
  for (int index = 0; index < num_threads; ++index) body(piece_of(loop.size, index, num_threads));
}

// body(task, thread) for each index of the loop, handed out in order to free threads;
// thread < num_threads tells which scratch to use. For tasks that write disjoint results.
template <class Body>
void parallel_tasks(int num_threads, Loop loop, const Body& body) {
#pragma omp parallel num_threads(num_threads) if (loop.is_long())
  {
    const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic)
    for (std::int64_t task = 0; task < loop.size; ++task) body(task, thread);
  }
}

}  // namespace dualpath
