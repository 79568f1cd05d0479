// Layouts that can run, near one that cannot.
#pragma once

#include <string>
#include <vector>

#include "launcher/config/run_config.h"

namespace dualpath {

std::vector<std::int64_t> divisors(std::int64_t n);

// Whether the problem is of a field in which layouts differ, or of the batch.
bool is_about_layout(const ConfigProblem& problem);

// Whether the job's layout over its ranks has no problem; other problems do not count.
bool layout_fits(const RunConfig& config, std::int64_t num_ranks);

// Up to `count` layouts that fit, the nearest first: other sizes of the axes on as many ranks or
// others. "8 ranks: parallel.tensor=2 parallel.pipeline=2 parallel.virtual_pipeline=1"
std::vector<std::string> nearest_layouts(const RunConfig& config, std::int64_t num_ranks,
                                         std::size_t count);

}  // namespace dualpath
