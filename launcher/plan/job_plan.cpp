#include "launcher/plan/job_plan.h"

#include <algorithm>
#include <numeric>

#include "launcher/plan/kernel_memory.h"

namespace dualpath {

namespace {

ParallelLayout layout_of(const TrainerOptions& options, int rank) {
  return make_layout(options.model, options.parallel, batch_layout(options, rank).accumulation,
                     rank);
}

RankMemory memory_of(const TrainerOptions& options, const ParameterStore& parameters,
                     ActivationMemory activations) {
  RankMemory memory;
  memory.values = parameters.value_bytes();
  memory.copies = parameters.operand_bytes();
  memory.gradients = parameters.flat_gradients().bytes();
  for (const ParameterRegion& region : parameters.regions()) {
    const Interval own = options.parallel.zero == Zero::on ? region.shard : region.all;
    memory.moments += 2 * static_cast<std::size_t>(own.size()) * size_of(options.types.master);
  }
  memory.activations = std::move(activations);
  return memory;
}

}  // namespace

std::size_t RankMemory::kernel_bytes() const {
  std::size_t bytes = 0;
  for (const CategoryBytes& c : kernels) bytes += c.bytes;
  return bytes;
}

RankMemory plan_memory(const TrainerOptions& options, int rank) {
  const ModelOptions part = model_options(options, layout_of(options, rank));
  return memory_of(options, lay_out_parameters(options.model, part),
                   measure_activations(options.model, part));
}

std::size_t JobPlan::largest_memory() const {
  std::size_t most = 0;
  for (const StagePlanned& stage : stages) most = std::max(most, stage.memory.total());
  return most;
}

JobPlan plan_job(const TrainerOptions& options, const Machine& machine) {
  StepForecast forecast = forecast_step(options, machine);
  const Simulation& passes = forecast.passes;
  JobPlan plan;
  plan.bubble_fraction = passes.bubble_fraction();
  plan.step_seconds = forecast.seconds();
  const double all = std::accumulate(passes.busy.begin(), passes.busy.end(), 0.0);
  for (std::size_t s = 0; s < forecast.stages.size(); ++s) {
    StageForecast& found = forecast.stages[s];
    const ParameterStore parameters =
        lay_out_parameters(options.model, model_options(options, found.layout));
    StagePlanned& stage = plan.stages.emplace_back();
    stage.rank = found.rank;
    stage.layout = std::move(found.layout);
    stage.parameters = parameters.num_parameters();
    stage.cost_share = passes.busy[s] / all;
    stage.idle = 1 - passes.busy[s] / passes.makespan;
    stage.memory = memory_of(options, parameters, std::move(found.activations));
    stage.memory.kernels = kernel_memory(options, stage.layout, machine.processor);
    stage.traffic = found.traffic;
  }
  return plan;
}

double executed_flops_per_token(const TrainerOptions& options) {
  ParallelConfig alone;
  alone.data = 1;
  alone.recompute = options.parallel.recompute;
  TrainerOptions one = options;
  one.parallel = alone;
  const ActivationMemory memory =
      measure_activations(one.model, model_options(one, make_layout(one.model, alone, 1, 0)));
  const PassCosts& flops = memory.passes.front();
  return (flops.forward + flops.backward) /
         static_cast<double>(one.micro_batch_size * one.model.sequence_length);
}

}  // namespace dualpath
