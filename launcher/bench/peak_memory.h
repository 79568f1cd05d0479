// This process's largest memory since the last reset.
#pragma once

#include <optional>

namespace dualpath {

void reset_peak_memory();
std::optional<double> peak_memory();  // bytes; where the system tells

}  // namespace dualpath
