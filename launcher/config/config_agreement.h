// All ranks of a job must have been started alike.
#pragma once

#include "launcher/config/run_config.h"
#include "parallel/communicator.h"

namespace dualpath {

struct ConfigAgreement {
  bool can_run = false;  // no rank has a problem
  bool tells = false;    // this rank has problems, which no rank before it has too
};

// Where the configs of two ranks differ, adds the first field that does to the problems of every
// rank. Collective.
ConfigAgreement agree_on_config(const RunConfig& config, ConfigProblems& problems,
                                Communicator& ranks);

}  // namespace dualpath
