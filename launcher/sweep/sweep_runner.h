// Carries out a sweep on this machine: each run a process of its own, several side by side.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/log.h"
#include "launcher/sweep/sweep_plan.h"

namespace dualpath {

struct SweepExecution {
  std::filesystem::path folder;   // of the sweep
  std::filesystem::path program;  // dualpath
  std::int64_t ranks = 1;         // of each run
  std::int64_t side_by_side = 1;  // runs
  std::int64_t threads = 1;       // of a rank
  std::vector<std::string> gpus;  // that the runs share (sweep_gpus.h); empty: they take the CPU
  bool retry = false;             // what has failed
};

// Until every run has finished or failed, or this process is asked to stop (stop_request.h): then
// the runs save and stop as well. Runs that another process has going are waited for. Returns
// success where all runs have finished, stopped where some can go on, else what the first failed
// run ended with.
// REQUIRES: the folder holds the plan and is locked by this process; the calling thread is the one
// that ends last.
ExitCode run_sweep(const SweepPlan& plan, const SweepExecution& execution, Log& log);

}  // namespace dualpath
