#include "core/base/control_group.h"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>

namespace dualpath {
namespace {

// The process's group, a path below the root of the hierarchy; "/": not known. A line of
// /proc/self/cgroup is "ID:CONTROLLERS:PATH", with "0::PATH" for version 2.
std::filesystem::path own_group(std::string_view controller) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t begin = line.find(':') + 1, end = line.find(':', begin);
    if (begin == 0 || end == line.npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(begin, end - begin));
    if (controllers.find(fmt::format(",{},", controller)) != controllers.npos)
      return line.substr(end + 1);
  }
  return "/";
}

}  // namespace

std::vector<std::string> control_group_values(std::string_view controller, std::string_view file) {
  const std::filesystem::path root = std::filesystem::path("/sys/fs/cgroup") / controller;
  std::vector<std::string> values;
  for (std::filesystem::path group = own_group(controller);; group = group.parent_path()) {
    std::ifstream lines(root / group.relative_path() / file);
    if (std::string line; std::getline(lines, line)) values.push_back(line);
    if (!group.has_relative_path()) return values;
  }
}

}  // namespace dualpath
