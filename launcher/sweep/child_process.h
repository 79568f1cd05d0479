// A program that runs beside this one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace dualpath {

// Is a process group of its own, so that Ctrl-C on the terminal does not reach it, and is sent USR1
// when the thread that made it ends, however that happens.
class ChildProcess {
 public:
  // words[0] is a path. What it prints is appended to `output`. Throws Error(checkpoint) where that
  // cannot be opened; where the program cannot be started it says so there and the exit code is
  // 127.
  ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& output);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // leaves the program alone

  // The exit code once it has ended, 128 + N if signal N killed it.
  std::optional<int> exit_code();
  void send(int signal) const;

 private:
  pid_t pid_ = 0;  // 0: ended
  std::optional<int> exit_code_;
};

}  // namespace dualpath
