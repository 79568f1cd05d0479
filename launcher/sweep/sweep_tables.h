// What `dualpath sweep plan` and `status` print.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "launcher/sweep/run_forecast.h"
#include "launcher/sweep/sweep_plan.h"

namespace dualpath {

// A row a run with its forecast, what they take together with so many going on at once, and the
// cells that cannot be. tells_time: the forecasts are in seconds.
std::string plan_text(const SweepPlan& plan, std::span<const RunForecast> forecasts,
                      std::int64_t side_by_side, bool tells_time);

// The cells that cannot be, with the bound that fails; "" where there are none.
std::string infeasible_text(const SweepPlan& plan);

// A row a run, as its folder tells now; why runs failed; how many there are of each state.
std::string status_text(const std::filesystem::path& sweep, const SweepPlan& plan);

}  // namespace dualpath
