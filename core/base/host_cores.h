// The processor cores of this machine that this process and its neighbours may use.
#pragma once

#include <optional>
#include <string_view>

namespace dualpath {

// Cores of the machine, or of the container where its control group has a quota of processor time.
// At least 1.
int host_cores();

// The part of them that this process may run on: fewer where Slurm or mpirun has bound it to some.
// At least 1.
int own_cores();

// The cores that a quota amounts to, rounded up, as cpu.max of a control group (version 2) states
// it: "max 100000" is no quota, "250000 100000", microseconds of each period, is 3.
std::optional<int> cores_of_quota(std::string_view cpu_max);

}  // namespace dualpath
