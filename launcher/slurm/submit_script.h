// The job scripts of `dualpath submit` and `dualpath sweep submit`: slurm/train.sbatch with its
// upper part filled in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/slurm/submit_config.h"

namespace dualpath {

// Seconds of a time limit as Slurm writes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, rounded up to
// whole minutes as Slurm does; none where it is no such text or 0.
std::optional<std::int64_t> parse_time_limit(std::string_view text);

// How long before the time limit a run must be told to stop, from what its metrics.jsonl says of
// the latest steps, validations and saves; none where the file holds no step.
std::optional<std::int64_t> measured_lead_seconds(const std::filesystem::path& metrics);

// The lead that is given, else the longest that was measured of the runs in these folders, else a
// default. Adds a problem where it leaves no time to train, or the limit cannot be read.
std::int64_t signal_lead_seconds(const SubmitSection& submit,
                                 const std::vector<std::filesystem::path>& folders,
                                 ConfigProblems& problems);

// What the script says of the run, besides the submit section.
struct SubmittedRun {
  std::filesystem::path working_folder;  // absolute; relative paths below are seen from there
  std::filesystem::path folder;
  std::filesystem::path config;  // read by `dualpath train`
  std::filesystem::path program;
  std::int64_t lead_seconds;
};

// Throws Error(configuration) where an option of sbatch holds a line break.
std::string submit_script(const SubmitSection& submit, const SubmittedRun& run);

// A sweep as a job array: one task for each run.
struct SubmittedSweep {
  std::filesystem::path working_folder;  // as above
  std::filesystem::path folder;          // of the sweep
  std::vector<std::string> runs;         // names in its runs/, each with planned.yaml
  std::int64_t at_once;                  // tasks; 0: as many as Slurm finds room for
  std::filesystem::path program;
  std::int64_t lead_seconds;
};

// A task that does not finish its run says why in the run's exit.txt.
std::string sweep_script(const SubmitSection& submit, const SubmittedSweep& sweep);

}  // namespace dualpath
