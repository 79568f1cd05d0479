// How an exception ends the program.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace dualpath {

struct ErrorReport {
  ExitCode code;
  std::string message;  // may have several lines
};

// What a caught exception means to the user. Internal errors name their place in our source.
ErrorReport describe(const std::exception_ptr& exception);

// What the program has printed must have reached its standard output: no report where it has.
std::optional<ErrorReport> flush_standard_output();

// Prints the message to stderr, every line after the prefix ("[rank 3] dualpath: ").
void print_error(const ErrorReport& report, std::string_view prefix);

}  // namespace dualpath
