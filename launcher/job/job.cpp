#include "launcher/job/job.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/base/host_cores.h"
#include "core/config/field.h"

namespace dualpath {

Job::Job() {
  if (started_by_mpi_launcher()) {
    session_.emplace(operations_);
    world_ = session_->world();
  } else {
    world_ = make_self_communicator();
  }
}

namespace {

// The cores a rank may use.
int cores_of_rank(int ranks_of_host) {
  return std::min(own_cores(), host_cores() / ranks_of_host);
}

// The first of its numbers, that of the outermost parallel regions: "8", "4,2".
int threads_of_environment(std::string_view given) {
  constexpr int most = static_cast<int>(bounds::threads);
  const std::string_view first = given.substr(0, given.find(','));
  int threads = 0;
  const auto [end, error] = std::from_chars(first.data(), first.data() + first.size(), threads);
  const bool is_number = error == std::errc() && end == first.data() + first.size();
  CHECK_AS(ExitCode::configuration, is_number && threads >= 1 && threads <= most,
           "OMP_NUM_THREADS is \"{}\": a number of threads from 1 to {} is wanted, or unset it and "
           "give threads=N",
           given.substr(0, 80), most);
  return threads;
}

}  // namespace

int Job::num_threads(std::int64_t asked, int ranks_of_host) {
  if (asked > 0) return static_cast<int>(asked);
  const char* given = std::getenv("OMP_NUM_THREADS");
  if (given != nullptr && *given != '\0') return threads_of_environment(given);
  return std::max(1, cores_of_rank(ranks_of_host));
}

bool Job::has_spare_cores(int threads_per_rank) const {
  return threads_per_rank < cores_of_rank(local_size());
}

}  // namespace dualpath
