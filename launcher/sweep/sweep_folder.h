// The folder of a sweep:
//
//   sweeps/NAME/sweep.json            the plan
//               runs/RUN/planned.yaml the run's whole configuration
//                        ...          what `dualpath train` leaves in a run's folder
//                        output.txt   what it printed, of all starts
//                        exit.txt     how its last start ended, unless it finished
//
// What a run has come to is read from its own folder alone, so that any process may ask, on any
// machine, at any time. Errors are Error(checkpoint) unless said otherwise.
#pragma once

#include <filesystem>

#include "launcher/sweep/sweep_plan.h"

namespace dualpath {

bool is_sweep(const std::filesystem::path& folder);
SweepPlan read_sweep_plan(const std::filesystem::path& folder);
// In one instant; a plan that is there is replaced.
void write_sweep_plan(const std::filesystem::path& folder, const SweepPlan& plan);

inline std::filesystem::path run_folder(const std::filesystem::path& sweep,
                                        const std::string& run) {
  return sweep / "runs" / run;
}

enum class RunState { planned, running, finished, failed, stopped };

template <>
struct EnumNames<RunState> {
  static constexpr std::pair<RunState, const char*> values[] = {{RunState::planned, "planned"},
                                                                {RunState::running, "running"},
                                                                {RunState::finished, "finished"},
                                                                {RunState::failed, "failed"},
                                                                {RunState::stopped, "stopped"}};
};

struct RunStatus {
  RunState state = RunState::planned;
  std::string reason = {};  // why it failed or stopped
  int code = 0;             // exit code of what failed
};
RunStatus run_status(const std::filesystem::path& run_folder);

// How a start of a run ended: for run_status, until forget_exit.
void record_exit(const std::filesystem::path& run_folder, int code, const std::string& reason);
void forget_exit(const std::filesystem::path& run_folder);

// The run's configuration as planned. Throws Error(configuration).
RunConfig read_planned(const std::filesystem::path& run_folder);

// Makes `folder` the sweep's, or adds the grid's new runs to what is there. Throws
// Error(configuration) that tells the difference where the folder holds a run that the grid does
// not have, or has otherwise: another sweep. Fields that no result depends on may differ.
void adopt_grid(const std::filesystem::path& folder, const SweepPlan& plan,
                const std::vector<RunConfig>& configs);

}  // namespace dualpath
