#include "launcher/config/config_agreement.h"

#include <algorithm>
#include <fmt/format.h>

namespace dualpath {
namespace {

// "key\nmessage"; "" where the config is what rank 0 printed.
std::string difference(const RunConfig& config, const std::string& first, int rank) {
  if (print_config(config) == first) return "";
  ConfigSource source;
  source.add_text(first, "rank 0");
  ConfigProblems ignored;  // rank 0 tells its own
  const auto changes = compare_configs(read_config<RunConfig>(source, ignored), config);
  CHECK(!changes.empty(), "equal configs are printed differently");
  return fmt::format("{}\n{} on rank 0, {} on rank {}; all ranks are to be started alike",
                     changes[0].key, changes[0].before, changes[0].after, rank);
}

std::string text_of(const ConfigProblems& problems) {
  std::string text;
  for (const ConfigProblem& problem : problems.all())
    text += fmt::format("{}: {}\n", problem.field, problem.message);
  return text;
}

}  // namespace

ConfigAgreement agree_on_config(const RunConfig& config, ConfigProblems& problems,
                                Communicator& ranks) {
  const std::string first = ranks.broadcast(print_config(config), 0);
  for (const std::string& found : ranks.all_gather(difference(config, first, ranks.rank()))) {
    if (found.empty()) continue;
    const std::size_t end_of_key = found.find('\n');
    problems.add(found.substr(0, end_of_key), found.substr(end_of_key + 1));
    break;
  }
  const std::vector<std::string> all = ranks.all_gather(text_of(problems));
  const auto is_empty = [](const std::string& text) { return text.empty(); };
  const auto mine = all.begin() + ranks.rank();
  return {.can_run = std::all_of(all.begin(), all.end(), is_empty),
          .tells = !mine->empty() && std::find(all.begin(), all.end(), *mine) == mine};
}

}  // namespace dualpath
