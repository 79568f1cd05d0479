// dualpath sweep report: a sweep's results as a page to read and a table to compute with.
#pragma once

#include <filesystem>

namespace dualpath {

// Writes report.csv, then report.html, into the sweep's folder, whatever its runs have come to.
// Throws Error(checkpoint) where the folder is no sweep, Error(configuration) where there is no
// gnuplot.
void write_sweep_report(const std::filesystem::path& folder);

}  // namespace dualpath
