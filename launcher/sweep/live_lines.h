// Lines at the end of a terminal's output that are rewritten in place.
#pragma once

#include <span>
#include <string>

namespace dualpath {

// On stdout; where that is no terminal nothing is shown.
class LiveLines {
 public:
  LiveLines();
  ~LiveLines() { clear(); }
  LiveLines(const LiveLines&) = delete;
  LiveLines& operator=(const LiveLines&) = delete;

  bool is_terminal() const { return is_terminal_; }
  // In place of those shown before; what does not fit is cut off.
  void show(std::span<const std::string> lines);
  // So that other output may follow.
  void clear();

 private:
  bool is_terminal_;
  std::size_t num_shown_ = 0;
};

}  // namespace dualpath
