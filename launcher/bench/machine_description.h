// What `dualpath plan` is to know of this machine, measured within training steps of small models.
#pragma once

#include "core/device/device.h"
#include "launcher/bench/report.h"
#include "launcher/plan/machine.h"

namespace dualpath {

struct MachineDescription {
  Machine machine;
  Table kernels;  // each rate, and how far it is off on what it was made from
};

// Describes one rank's share of the machine while all ranks work. local_size: ranks on this node.
// Links are those within the node, or the network where the job has several nodes. Collective.
MachineDescription describe_machine(const Effort& effort, Device& device, int num_threads,
                                    int local_size, Communicator& ranks);

// One rate a collective, from messages of 1 KiB to 32 MiB among all ranks. REQUIRES: several ranks.
// Collective.
std::vector<LinkRate> measure_links(LinkScope scope, const Effort& effort, Device& device,
                                    Communicator& ranks);

}  // namespace dualpath
