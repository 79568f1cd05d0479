#include "launcher/job_plan.h"

#include <numeric>

#include "launcher/traffic_plan.h"
#include "model/counts.h"

namespace dualpath {

namespace {

ParallelLayout layout_of(const TrainerOptions& options, int rank) {
  return make_layout(options.model, options.parallel, batch_layout(options, rank).accumulation,
                     rank);
}

RankMemory memory_of(const TrainerOptions& options, const ParallelLayout& layout,
                     const ParameterStore& parameters) {
  RankMemory memory;
  memory.values = parameters.value_bytes();
  memory.copies = parameters.operand_bytes();
  memory.gradients = parameters.flat_gradients().bytes();
  for (const ParameterRegion& region : parameters.regions()) {
    const Interval own = options.parallel.zero == Zero::on ? region.shard : region.all;
    memory.moments += 2 * static_cast<std::size_t>(own.size()) * size_of(options.types.master);
  }
  memory.activations = measure_activations(options.model, model_options(options, layout));
  return memory;
}

// Of one rank with all of the model.
double executed_flops(const TrainerOptions& options) {
  ParallelConfig alone;
  alone.data = 1;
  alone.recompute = options.parallel.recompute;
  TrainerOptions one = options;
  one.parallel = alone;
  const ActivationMemory memory =
      measure_activations(one.model, model_options(one, make_layout(one.model, alone, 1, 0)));
  const PassFlops& flops = memory.flops.front();
  return (flops.forward + flops.backward) /
         static_cast<double>(one.micro_batch_size * one.model.sequence_length);
}

}  // namespace

RankMemory plan_memory(const TrainerOptions& options, int rank) {
  const ParallelLayout layout = layout_of(options, rank);
  return memory_of(options, layout,
                   lay_out_parameters(options.model, model_options(options, layout)));
}

JobPlan plan_job(const TrainerOptions& options) {
  JobPlan plan;
  plan.flops_per_token = training_flops(options.model, AttentionFlops::causal);
  plan.executed_flops_per_token = executed_flops(options);
  const Simulation passes = forecast_passes(options);
  plan.bubble_fraction = passes.bubble_fraction();
  const double all = std::accumulate(passes.busy.begin(), passes.busy.end(), 0.0);
  const GridShape grid = grid_shape(options.parallel);
  for (int s = 0; s < grid.pipeline; ++s) {
    const double busy = passes.busy[static_cast<std::size_t>(s)];
    StagePlanned stage;
    stage.rank = fullest_rank(grid, s);
    stage.layout = layout_of(options, stage.rank);
    const ParameterStore parameters =
        lay_out_parameters(options.model, model_options(options, stage.layout));
    stage.parameters = parameters.num_parameters();
    stage.cost_share = busy / all;
    stage.idle = 1 - busy / passes.makespan;
    stage.memory = memory_of(options, stage.layout, parameters);
    stage.traffic = predict_traffic(options, stage.rank);
    plan.stages.push_back(std::move(stage));
  }
  return plan;
}

}  // namespace dualpath
