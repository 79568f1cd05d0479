// Reading the text of a configuration file: from a file, or from a pipe as <(command) makes it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace dualpath {

// The largest text that is read: far more than people write, little enough to be parsed at once.
inline constexpr std::size_t most_config_bytes = std::size_t{1} << 20;

struct ConfigText {
  std::string text;
  std::string problem;      // why there is none; "" where it was read
  bool has_folder = false;  // a file in a folder, not a pipe or a device
};

// Never waits for a pipe that nobody writes to, nor longer than a minute for one that is silent;
// stops at most_config_bytes, however much there is.
ConfigText read_config_text(const std::filesystem::path& path);

}  // namespace dualpath
