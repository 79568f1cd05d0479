#pragma once

#include <string>

namespace dualpath {

// The lines of `dualpath --version`: program, commit, compiler, backends, libraries.
std::string version_text();
// The same on one line.
std::string version_line();

}  // namespace dualpath
