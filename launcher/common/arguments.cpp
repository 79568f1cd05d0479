#include "launcher/common/arguments.h"

#include "core/base/error.h"

namespace dualpath {

Arguments split_arguments(std::span<const std::string> arguments, std::string_view usage,
                          std::size_t min_positional, std::size_t max_positional) {
  Arguments result;
  for (const std::string& word : arguments) {
    CHECK_AS(ExitCode::configuration, !word.starts_with('-') || word == "-",
             "unknown flag {}; options are written key=value\nusage: {}", word, usage);
    const std::size_t equals = word.find('=');
    const bool is_override = equals != std::string::npos && word.rfind('/', equals) == word.npos;
    (is_override ? result.overrides : result.positional).push_back(word);
  }
  const std::size_t count = result.positional.size();
  CHECK_AS(ExitCode::configuration, count >= min_positional, "an argument is missing\nusage: {}",
           usage);
  CHECK_AS(ExitCode::configuration, count <= max_positional, "unexpected argument {}\nusage: {}",
           result.positional[max_positional], usage);
  return result;
}

}  // namespace dualpath
