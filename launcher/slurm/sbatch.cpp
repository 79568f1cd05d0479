#include "launcher/slurm/sbatch.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"

namespace dualpath {

namespace {

// The output of a program, without its last line break; its errors go where ours go.
std::string output_of(const std::vector<std::string>& command) {
  std::array<int, 2> pipe_ends{};
  CHECK(::pipe(pipe_ends.data()) == 0, "pipe: {}", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  std::string output;
  std::array<char, 256> block;
  for (ssize_t count; (count = ::read(pipe_ends[0], block.data(), block.size())) > 0;) {
    output.append(block.data(), static_cast<std::size_t>(count));
  }
  ::close(pipe_ends[0]);
  CHECK_AS(ExitCode::configuration, failure == 0,
           "{} cannot be run: {}; --dry-run prints the script", command[0], std::strerror(failure));
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child, "waitpid: {}", std::strerror(errno));
  CHECK_AS(ExitCode::configuration, WIFEXITED(status) && WEXITSTATUS(status) == 0,
           "{} has refused the job", command[0]);
  if (output.ends_with('\n')) output.pop_back();
  return output;
}

}  // namespace

std::string sbatch(const std::filesystem::path& script) {
  const std::string answer = output_of({"sbatch", "--parsable", script});
  const std::string job = answer.substr(0, answer.find(';'));  // "JOB" or "JOB;CLUSTER"
  const bool is_number = !job.empty() && job.find_first_not_of("0123456789") == job.npos;
  CHECK_AS(ExitCode::configuration, is_number,
           "sbatch --parsable {} answers \"{}\", which is no job's number", script.string(),
           answer);
  return job;
}

void check_job(const SubmitSection& submit, ConfigProblems& problems) {
  if (submit.mpi.empty()) problems.add("submit.mpi", "empty; srun --mpi=list tells the kinds");
  if (!submit.setup.empty()) {
    const std::string lines = fmt::format("{}\n", fmt::join(submit.setup, "\n"));
    const std::string errors =
        output_of({"bash", "-c", "bash -n -c \"$0\" 2>&1 || true", "f() {\n:\n" + lines + "}\n"});
    if (!errors.empty()) problems.add("submit.setup", "is no shell: " + errors);
  }
  std::error_code ignored;
  namespace fs = std::filesystem;
  const auto warn_unless_file = [&](const char* name, const std::string& path) {
    const bool is_path = path.find('/') != path.npos && path.find("://") == path.npos;
    if (!is_path || fs::is_regular_file(path, ignored)) return;
    fmt::print(stderr, "warning: {}={}: no such file here; the nodes must have it\n", name, path);
  };
  if (submit.container.empty()) warn_unless_file("submit.program", submit.program);
  if (!fs::is_directory(submit.container, ignored))  // as an unpacked image is
    warn_unless_file("submit.container", submit.container);
}

std::filesystem::path submitted_program(const SubmitSection& submit) {
  if (!submit.program.empty()) return submit.program;
  if (!submit.container.empty()) return "dualpath";
  return std::filesystem::read_symlink("/proc/self/exe");
}

std::vector<std::string> spell_out_dry_run(std::span<const std::string> words) {
  std::vector<std::string> spelt_out(words.begin(), words.end());
  std::ranges::replace(spelt_out, "--dry-run", "submit.dry_run=true");
  return spelt_out;
}

}  // namespace dualpath
