#include "launcher/sweep/live_lines.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace dualpath {

LiveLines::LiveLines() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

void LiveLines::show(std::span<const std::string> lines) {
  if (!is_terminal_) return;
  clear();
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0;
  num_shown_ = known ? std::min<std::size_t>(lines.size(), size.ws_row - 1) : lines.size();
  // Those that fit are the last ones.
  for (const std::string& line : lines.last(num_shown_))
    fmt::print("{}\n", known ? line.substr(0, size.ws_col) : line);
  std::fflush(stdout);
}

void LiveLines::clear() {
  if (num_shown_ > 0) fmt::print("\x1b[{}F\x1b[J", num_shown_);
  num_shown_ = 0;
  std::fflush(stdout);
}

}  // namespace dualpath
