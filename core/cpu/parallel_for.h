// How every kernel spreads its work over threads. Bodies must not throw.
#pragma once

#include <cstdint>
#include <omp.h>

namespace dualpath {

struct Piece {
  int index;
  std::int64_t begin, end;
};

// Piece `index` of `count` consecutive, nearly equal pieces of [0, size).
inline Piece piece_of(std::int64_t size, int index, int count) {
  return {index, size * index / count, size * (index + 1) / count};
}

// body(piece) for each of num_threads pieces of [0, size). The cut depends on its arguments only,
// not on the team that OpenMP grants: results that depend on the cut are reproducible.
template <class Body>
void parallel_for(int num_threads, std::int64_t size, const Body& body) {
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int index = 0; index < num_threads; ++index) body(piece_of(size, index, num_threads));
}

// body(task, thread) for each task in [0, num_tasks), handed out in order to free threads;
// thread < num_threads tells which scratch to use. For tasks that write disjoint results.
template <class Body>
void parallel_tasks(int num_threads, std::int64_t num_tasks, const Body& body) {
#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic)
    for (std::int64_t task = 0; task < num_tasks; ++task) body(task, thread);
  }
}

}  // namespace dualpath
