// Handing job scripts to Slurm.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "launcher/submit_config.h"

namespace dualpath {

// The job's number. Throws Error(configuration) where there is no sbatch, or it refuses the job.
std::string sbatch(const std::filesystem::path& script);

// What the job runs: this program, unless the config names another or a container has its own.
std::filesystem::path submitted_program(const SubmitSection& submit);

// --dry-run as an override.
std::vector<std::string> spell_out_dry_run(std::span<const std::string> words);

}  // namespace dualpath
