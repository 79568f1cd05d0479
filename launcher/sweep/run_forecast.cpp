#include "launcher/sweep/run_forecast.h"

#include "launcher/plan/job_plan.h"
#include "launcher/train/training_options.h"

namespace dualpath {

RunForecast forecast_run(RunConfig config, std::int64_t num_ranks, const Machine& machine) {
  const ResolvedRunConfig run = resolve(std::move(config), num_ranks, machine.processor);
  const TrainerOptions options = trainer_options(run, total_steps(run, {}));
  const JobPlan plan = plan_job(options, machine);
  return {plan.largest_memory(), static_cast<double>(options.total_steps) * plan.step_seconds};
}

}  // namespace dualpath
