// One training step of a configuration: how fast it is, and where its time goes.
#pragma once

#include "data/sample_source.h"
#include "launcher/bench/bench_config.h"
#include "launcher/bench/kernel_profile.h"
#include "parallel/communicator.h"

namespace dualpath {

struct StepBench {
  MeasuredTable step;
  Table kernels;
  std::string graphs;  // of the steps that were timed: Trainer::describe_graphs(); GPUs only
};

// REQUIRES: the run's config is resolved and validates. Collective.
StepBench measure_step(const BenchConfig& config, const SampleSource& source,
                       const MachinePeaks& peaks, Device& device, Communicator& ranks);

}  // namespace dualpath
