// Errors: what is wrong, where it was found, and which exit code the program ends with.
// Libraries throw; only main() catches.
#pragma once

#include <fmt/format.h>
#include <stdexcept>
#include <string>

namespace dualpath {

// The exit codes users and job scripts see.
enum class ExitCode : int {
  success = 0,
  internal = 1,       // a broken invariant: a defect of ours
  configuration = 2,  // command line, YAML, impossible sizes
  data = 3,           // corpora, token shards, tokenizers
  checkpoint = 4,     // checkpoints and the run folder
  numerics = 5,       // loss or gradient not finite
  peer = 6,           // another rank failed or hung
  stopped = 75,       // stopped early, saved, resumable (requeue)
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, const char* file, int line)
      : std::runtime_error(message), code_(code), file_(file), line_(line) {}
  ExitCode code() const { return code_; }
  // Where the check stands in our source; shown only for internal errors.
  const char* file() const { return file_; }
  int line() const { return line_; }

 private:
  ExitCode code_;
  const char* file_;
  int line_;
};

}  // namespace dualpath

// FAIL(code, format, ...) throws; CHECK is for our own invariants, CHECK_AS for what a user,
// a file or a peer can get wrong. The message says what, where and the nearest right thing.
#define DUALPATH_FAIL(code, ...) \
  throw ::dualpath::Error((code), ::fmt::format(__VA_ARGS__), __FILE__, __LINE__)

#define CHECK_AS(code, condition, ...)  \
  do {                                  \
    if (!(condition)) [[unlikely]]      \
      DUALPATH_FAIL(code, __VA_ARGS__); \
  } while (false)

#define CHECK(condition, ...) CHECK_AS(::dualpath::ExitCode::internal, condition, __VA_ARGS__)
