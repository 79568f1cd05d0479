// What the ranks of a job do together besides computing: collective operations and checkpoints.
#pragma once

#include "launcher/bench/bench_config.h"
#include "launcher/bench/machine_bench.h"

namespace dualpath {

struct TimedCollective {
  Collective kind;
  double bytes;  // that each rank sends at the least
  Timing time;
};
// all_reduce, all_gather, reduce_scatter and an exchange around the ring, of `numel` f32 numbers.
// Collective.
std::vector<TimedCollective> time_collectives(std::int64_t numel, const Effort& effort,
                                              Device& device, Communicator& ranks);

// Sums, gathers, scatters and messages among ranks, from small ones to the gradients of the run's
// model. REQUIRES: several ranks. Collective.
MeasuredTable measure_collectives(const ResolvedBenchConfig& config, const MachinePeaks& peaks,
                                  Device& device, Communicator& ranks);

// Saves and loads the state of the run's model in a folder made within `folder`, and removes it.
// REQUIRES: the run's config validates. Collective. Throws Error(checkpoint).
MeasuredTable measure_checkpoint(const ResolvedBenchConfig& config, const std::string& folder,
                                 const MachinePeaks& peaks, Device& device, Communicator& ranks);

}  // namespace dualpath
