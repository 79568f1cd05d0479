// Reading a task's file.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/evaluate/task.h"

namespace dualpath {

// The first `limit` items; 0: all. Throws Error(data) with "file:line: what is wrong".
Task read_task(const std::string& file, std::int64_t limit = 0);

}  // namespace dualpath
