// What the control groups (Linux cgroups) of this process say.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dualpath {

// The first line of `file` in the process's group and in every group around it, where there is
// one. controller: of a hierarchy of version 1, such as "memory"; "": version 2.
std::vector<std::string> control_group_values(std::string_view controller, std::string_view file);

}  // namespace dualpath
