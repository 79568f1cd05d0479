#include "launcher/bench/peak_memory.h"

#include <fstream>
#include <string>

namespace dualpath {

void reset_peak_memory() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

std::optional<double> peak_memory() {
  std::ifstream file("/proc/self/status");
  std::string word;
  double kibibytes = 0;
  while (file >> word) {
    if (word == "VmHWM:" && file >> kibibytes) return 1024 * kibibytes;
  }
  return std::nullopt;
}

}  // namespace dualpath
