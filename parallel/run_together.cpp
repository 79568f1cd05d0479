#include "parallel/run_together.h"

#include <charconv>
#include <filesystem>
#include <string_view>

namespace dualpath {

namespace {

constexpr char done = '+', failed = '-';

// "-CODE MESSAGE"
std::string failure(ExitCode code, const std::string& message) {
  return fmt::format("{}{} {}", failed, static_cast<int>(code), message);
}

[[noreturn]] void throw_failure(const std::string& what, std::size_t rank,
                                const std::string& report) {
  int code = 0;
  const char* const end = report.data() + report.size();
  const char* const space = std::from_chars(report.data() + 1, end, code).ptr;
  throw AgreedError(
      static_cast<ExitCode>(code),
      fmt::format("{} failed on rank {}: {}", what, rank, std::string_view(space + 1, end)),
      __FILE__, __LINE__);
}

}  // namespace

std::vector<std::string> run_together(Communicator& ranks, const std::string& what,
                                      const std::function<std::string()>& part) {
  std::string mine;
  try {
    mine = done + part();
  } catch (const Error& error) {
    mine = failure(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    mine = failure(ExitCode::checkpoint, error.what());
  } catch (const std::exception& error) {
    mine = failure(ExitCode::internal, error.what());
  }
  std::vector<std::string> results = ranks.all_gather(mine);
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    if (results[rank].front() == failed) throw_failure(what, rank, results[rank]);
    results[rank].erase(0, 1);
  }
  return results;
}

std::string run_on_root(Communicator& ranks, const std::string& what,
                        const std::function<std::string()>& part) {
  return run_together(ranks, what, [&] { return ranks.rank() == 0 ? part() : ""; }).front();
}

}  // namespace dualpath
