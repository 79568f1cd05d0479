// What earlier starts have left in a run folder: none of it is overwritten or dropped unasked. All
// failures are Error(checkpoint). For rank 0, which holds the folder's lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/config/run_config.h"

namespace dualpath {

// A run without a checkpoint starts anew. Throws where this one has had checkpoints: they are gone,
// moved or not mounted.
void check_never_saved(const std::filesystem::path& folder);

// The configuration of the start before this one, in YAML; none: this is the first.
std::optional<std::string> earlier_config_text(const std::filesystem::path& folder);
RunConfig parse_earlier_config(const std::string& yaml, const std::filesystem::path& folder);

// Whether the steps that one run makes again are those that the other has made.
bool makes_same_steps(const RunConfig& one, const RunConfig& other);

// Sets aside what a run with another configuration has left: its config.yaml and its TensorBoard
// files. Returns the new names.
std::vector<std::filesystem::path> set_run_aside(const std::filesystem::path& folder);

// Whether an earlier start has gone back to this step because checkpoint.load_step named it.
bool load_step_was_applied(const std::filesystem::path& folder, std::int64_t step);
std::filesystem::path load_step_file(const std::filesystem::path& folder);

void remember_load_step(const std::filesystem::path& folder, std::int64_t step);

// Gives the checkpoints of later steps names that do not count: they belong to another history.
// Returns the new names.
std::vector<std::filesystem::path> set_aside_after(const std::filesystem::path& folder,
                                                   std::int64_t step);

}  // namespace dualpath
