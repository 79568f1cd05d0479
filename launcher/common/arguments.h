// The words that follow a verb: VERB [positional...] [dotted.key=value...].
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config.h"

namespace dualpath {

struct Arguments {
  std::vector<std::string> positional;
  std::vector<std::string> overrides;
};

// A word with '=' is an override, unless a '/' before it makes it a path. Throws
// Error(configuration) with the usage ("dualpath plan CONFIG... [key=value...]") for a flag and
// where fewer than min_positional or more than max_positional words remain.
Arguments split_arguments(std::span<const std::string> arguments, std::string_view usage,
                          std::size_t min_positional, std::size_t max_positional);

// The options of a verb from its overrides alone. Throws Error(configuration) telling all problems.
template <class Options>
Options read_options(std::span<const std::string> overrides) {
  ConfigSource source;
  for (const std::string& assignment : overrides) source.add_override(assignment);
  ConfigProblems problems;
  Options options = read_config<Options>(source, problems);
  throw_if_any(problems, source);
  return options;
}

}  // namespace dualpath
