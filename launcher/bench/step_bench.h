// One training step of a configuration: how fast it is, and where its time goes.
#pragma once

#include "core/base/log.h"
#include "data/tokens/sample_source.h"
#include "launcher/bench/bench_config.h"
#include "launcher/bench/kernel_profile.h"
#include "parallel/communicator.h"

namespace dualpath {

struct StepBench {
  MeasuredTable step;
  Table kernels;
  // On GPUs, what the timed steps ran by: Trainer::describe_graphs(), choose_kernels().
  std::string graphs;
  std::vector<std::string> attention;
};

// By the algorithms that training would choose, which `log` is told of. REQUIRES: the run's config
// validates. Collective.
StepBench measure_step(const ResolvedBenchConfig& config, const SampleSource& source,
                       const MachinePeaks& peaks, Device& device, Communicator& ranks, Log& log);

}  // namespace dualpath
