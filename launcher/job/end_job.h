// How an exception ends a job of several ranks.
#pragma once

#include <string>

#include "core/base/error.h"
#include "launcher/job/job.h"

namespace dualpath {

// To be called while an exception is handled, before anything goes that other ranks may wait for.
// Prints it, every line after the prefix ("[rank 3] dualpath: "), and ends all ranks with its exit
// code; an AgreedError, which all ranks have, is printed by rank 0 alone. REQUIRES: the job has
// several ranks.
ExitCode end_job(Job& job, const std::string& prefix);

}  // namespace dualpath
