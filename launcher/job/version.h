#pragma once

#include <string>

namespace dualpath {

// The lines of `dualpath --version`: program, commit, compiler, backends, libraries.
std::string version_text();

}  // namespace dualpath
