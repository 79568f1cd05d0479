#include "data/run_together.h"

namespace dualpath {

std::vector<std::string> run_together(Communicator& ranks, const std::string& what,
                                      const std::function<std::string()>& part) {
  constexpr char done = '+', failed = '-';
  std::string mine;
  try {
    mine = done + part();
  } catch (const std::exception& error) {
    mine = failed + std::string(error.what());
  }
  std::vector<std::string> results = ranks.all_gather(mine);
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    CHECK_AS(ExitCode::checkpoint, results[rank].front() == done, "{} failed on rank {}: {}", what,
             rank, results[rank].substr(1));
    results[rank].erase(0, 1);
  }
  return results;
}

std::string run_on_root(Communicator& ranks, const std::string& what,
                        const std::function<std::string()>& part) {
  return run_together(ranks, what, [&] { return ranks.rank() == 0 ? part() : ""; }).front();
}

}  // namespace dualpath
