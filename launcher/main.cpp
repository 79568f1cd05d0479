// The `dualpath` program: finds the verb, runs it, and is the only place that catches.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "core/config/nearest.h"
#include "launcher/commands.h"
#include "launcher/common/report_error.h"
#include "launcher/common/stop_request.h"
#include "launcher/job/version.h"
#include "parallel/mpi_communicator.h"

namespace dualpath {
namespace {

constexpr std::initializer_list<const Command*> commands = {
    &tokenize_command, &data_command,       &plan_command, &train_command,
    &submit_command,   &sweep_command,      &eval_command, &routes_command,
    &generate_command, &checkpoint_command, &bench_command};

std::string program_help() {
  std::string text =
      "dualpath: pre-training of dual-path language models\n\n"
      "usage: dualpath VERB [argument...] [key=value...]\n"
      "       dualpath VERB --help    what the verb does, and all its options\n"
      "       dualpath --version      the program, its compiler and its libraries\n\n"
      "verbs:\n";
  for (const Command* command : commands) {
    text += fmt::format("  {:<10}  {}\n", command->name, command->summary);
  }
  return text;
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command* command : commands) {
    if (command->name == name) return *command;
    names.emplace_back(command->name);
  }
  const std::string near = nearest(name, names);
  DUALPATH_FAIL(ExitCode::configuration, "unknown verb {}{}; dualpath --help lists the verbs", name,
                near.empty() ? "" : fmt::format(", did you mean {}?", near));
}

ExitCode run(const std::vector<std::string>& words) {
  if (words.empty()) {
    std::fputs(program_help().c_str(), stderr);
    return ExitCode::configuration;
  }
  const auto is_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (is_help(words[0])) {
    std::fputs(program_help().c_str(), stdout);
    return ExitCode::success;
  }
  if (words[0] == "--version") {
    std::fputs(version_text().c_str(), stdout);
    return ExitCode::success;
  }
  const Command& command = find_command(words[0]);
  if (std::any_of(words.begin() + 1, words.end(), is_help)) {
    std::fputs(command.help().c_str(), stdout);
    return ExitCode::success;
  }
  return command.run(std::span(words).subspan(1));
}

// "[rank 3] " where a launcher started several ranks.
std::string rank_prefix() {
  for (const auto& [rank_name, size_name] :
       {std::pair{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
        std::pair{"PMI_RANK", "PMI_SIZE"}, std::pair{"SLURM_PROCID", "SLURM_NTASKS"}}) {
    const char* rank = std::getenv(rank_name);
    const char* size = std::getenv(size_name);
    if (rank != nullptr && size != nullptr && std::string(size) != "1") {
      return fmt::format("[rank {}] ", rank);
    }
  }
  return "";
}

// A stop signal that comes while the program starts is a stop signal too. Called before the
// libraries' own start-up code, which takes most of the time until main().
void hold_signals_of_long_verbs(int argc, char** argv, char**) {
  if (argc > 1 && std::strcmp(argv[1], "train") == 0) hold_stop_signals();
}

using StartFunction = void (*)(int, char**, char**);
[[gnu::section(".preinit_array"), gnu::used]] const StartFunction at_start =
    hold_signals_of_long_verbs;

}  // namespace
}  // namespace dualpath

int main(int argc, char** argv) {
  using namespace dualpath;
  // Where it is inherited as ignored, no child's end can be waited for.
  std::signal(SIGCHLD, SIG_DFL);
  try {
    const ExitCode code = run(std::vector<std::string>(argv + 1, argv + argc));
    const std::optional<ErrorReport> lost_output = flush_standard_output();
    if (!lost_output || code != ExitCode::success) return static_cast<int>(code);
    print_error(*lost_output, rank_prefix() + "dualpath: ");
    return static_cast<int>(lost_output->code);
  } catch (...) {
    const ErrorReport report = describe(std::current_exception());
    print_error(report, rank_prefix() + "dualpath: ");
    std::fflush(nullptr);
    abort_job(static_cast<int>(report.code));
    return static_cast<int>(report.code);
  }
}
