// A verb of the `dualpath` program. Each lives in a file of its own, launcher/NAME_command.cpp,
// which defines one constant of this type; main.cpp lists them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace dualpath {

struct Command {
  std::string_view name;     // "tokenize"
  std::string_view summary;  // one line for `dualpath --help`
  std::string (*help)();     // the whole text of `dualpath NAME --help`
  // arguments: what followed the verb. Throws Error; main() turns it into message and exit code.
  ExitCode (*run)(std::span<const std::string> arguments);
};

}  // namespace dualpath
