// Repeated measurements of one thing.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "core/base/error.h"
#include "parallel/communicator.h"

namespace dualpath {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// How often to measure: `repeats` times, and on until `seconds` have passed.
struct Effort {
  std::int64_t repeats = 5;
  double seconds = 2;
  bool wants_more(std::int64_t done, double since) const {
    return done < repeats || now_seconds() - since < seconds;
  }
};

struct Timing {  // in seconds
  double median = 0;
  double best = 0;
};

inline Timing summarize(std::vector<double> seconds) {
  CHECK(!seconds.empty(), "nothing was measured");
  std::sort(seconds.begin(), seconds.end());
  const std::size_t middle = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  return {median, seconds.front()};
}

template <class Body>
double time_of(const Body& body) {
  const double start = now_seconds();
  body();
  return now_seconds() - start;
}

// Times body(): once unmeasured, then as often as the effort says.
template <class Body>
Timing measure(const Effort& effort, const Body& body) {
  body();
  std::vector<double> seconds;
  const double since = now_seconds();
  while (effort.wants_more(static_cast<std::int64_t>(seconds.size()), since)) {
    seconds.push_back(time_of(body));
  }
  return summarize(std::move(seconds));
}

// Calls body() as often as rank 0's clock says, so that bodies may be collective.
template <class Body>
void repeat_together(const Effort& effort, Communicator& ranks, const Body& body) {
  const double since = now_seconds();
  for (std::int64_t done = 0;; ++done) {
    const std::string more = effort.wants_more(done, since) ? "more" : "";
    if (ranks.broadcast(more, 0).empty()) return;
    body();
  }
}

// Times body(): once unmeasured, then repeated together; all ranks start at the same time.
template <class Body>
Timing measure_together(const Effort& effort, Communicator& ranks, const Body& body) {
  body();
  std::vector<double> seconds;
  repeat_together(effort, ranks, [&] {
    ranks.barrier();
    seconds.push_back(time_of(body));
  });
  return summarize(std::move(seconds));
}

}  // namespace dualpath
