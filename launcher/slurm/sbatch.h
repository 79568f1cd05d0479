// Handing job scripts to Slurm.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "launcher/slurm/submit_config.h"

namespace dualpath {

// The job's number. Throws Error(configuration) where there is no sbatch, or it refuses the job.
std::string sbatch(const std::filesystem::path& script);

// What the job runs: this program, unless the config names another or a container has its own.
std::filesystem::path submitted_program(const SubmitSection& submit);

// Adds what would end the job at its start: a setup that is no shell, an MPI without a name. Warns
// on standard error of a program or a container that is not seen here; the nodes may see it.
void check_job(const SubmitSection& submit, ConfigProblems& problems);

// --dry-run as an override.
std::vector<std::string> spell_out_dry_run(std::span<const std::string> words);

}  // namespace dualpath
