#include "launcher/sweep/sweep_gpus.h"

#include <algorithm>
#include <sstream>

namespace dualpath {

std::vector<std::string> gpu_names(int count, const char* visible) {
  std::vector<std::string> names;
  if (visible != nullptr) {
    std::istringstream list(visible);
    for (std::string name; std::ssize(names) < count && std::getline(list, name, ',');)
      names.push_back(name);
  } else {
    for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
  }
  return names;
}

std::string gpus_of_run(std::span<const std::string> gpus, std::int64_t place, std::int64_t ranks) {
  const std::int64_t count = std::ssize(gpus);
  std::string names;
  for (std::int64_t i = 0; i < std::min(ranks, count); ++i) {
    names += i == 0 ? "" : ",";
    names += gpus[static_cast<std::size_t>((place * ranks + i) % count)];
  }
  return names;
}

}  // namespace dualpath
