// What a test under mpirun sees of its surroundings.
#pragma once

#include "parallel/communicator.h"

namespace dualpath {

// All ranks of the job; lives as long as main() runs.
Communicator& world();

}  // namespace dualpath
