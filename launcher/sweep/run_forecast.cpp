#include "launcher/sweep/run_forecast.h"

#include "launcher/config/micro_batch.h"
#include "launcher/plan/job_plan.h"
#include "launcher/train/training_options.h"
#include "model/resolve_config.h"

namespace dualpath {

RunForecast forecast_run(RunConfig config, std::int64_t num_ranks, const Machine& machine) {
  config.model = resolve(config.model);
  config.parallel = resolve(config.parallel, static_cast<int>(num_ranks));
  config.train.micro_batch_size = choose_micro_batch(config, machine.processor);
  const TrainerOptions options = trainer_options(config, total_steps(config, {}));
  const JobPlan plan = plan_job(options, machine);
  return {plan.largest_memory(), static_cast<double>(options.total_steps) * plan.step_seconds};
}

}  // namespace dualpath
