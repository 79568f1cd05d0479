// Work that may fail on some ranks only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace dualpath {

// Runs `part` on every rank and returns what each returned, by rank. When it throws on any rank,
// all ranks throw the first failing rank's message as Error(checkpoint): none is left waiting for
// another. `what` begins that message. Collective, blocking.
std::vector<std::string> run_together(Communicator& ranks, const std::string& what,
                                      const std::function<std::string()>& part);

// The same for a part that rank 0 alone runs; returns its result on all ranks.
std::string run_on_root(Communicator& ranks, const std::string& what,
                        const std::function<std::string()>& part);

}  // namespace dualpath
