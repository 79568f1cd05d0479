#include "launcher/sweep/child_process.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "core/base/error.h"

namespace dualpath {

namespace {

// Other threads may hold any lock at the fork: only system calls from here on.
[[noreturn]] void become(char* const* words, int input, int output, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGUSR1);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::getppid() != parent) ::_exit(128 + SIGUSR1);  // it has gone before the prctl
  ::execv(words[0], words);
  for (const char* text : {"dualpath: ", static_cast<const char*>(words[0]), " cannot be run\n"})
    (void)!::write(STDERR_FILENO, text, std::strlen(text));
  ::_exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words,
                           const std::filesystem::path& output) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const int reason = errno;
  if (in >= 0 && out >= 0) {
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) become(arguments.data(), in, out, parent);
  }
  const int fork_reason = errno;
  ::close(in);
  ::close(out);
  CHECK_AS(ExitCode::checkpoint, in >= 0 && out >= 0, "{}: cannot be opened: {}", output.string(),
           std::strerror(reason));
  CHECK(pid_ > 0, "fork: {}", std::strerror(fork_reason));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), exit_code_(other.exit_code_) {}

ChildProcess::~ChildProcess() = default;

std::optional<int> ChildProcess::exit_code() {
  if (pid_ == 0) return exit_code_;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return {};
  const pid_t pid = std::exchange(pid_, 0);  // from now on it may be another process's
  CHECK(ended == pid, "waitpid: {}", std::strerror(errno));
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

void ChildProcess::send(int signal) const {
  if (pid_ != 0) ::kill(pid_, signal);
}

}  // namespace dualpath
