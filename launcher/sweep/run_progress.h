// How far a run has come and how it went, from the end of what it wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace dualpath {

struct RunProgress {
  std::int64_t step = 0;
  std::optional<double> loss;             // of that step
  std::optional<double> validation_loss;  // the newest
  std::optional<double> eta_seconds;
};

// From the last rows of metrics.jsonl; a row cut short, and a file that is not there, count as
// nothing.
RunProgress read_progress(const std::filesystem::path& run_folder);

// Why a program failed: of what it printed after `begin` bytes of the file the first line that
// bears its name, which tells the cause, else the last line.
std::string error_line(const std::filesystem::path& output, std::uintmax_t begin);

}  // namespace dualpath
