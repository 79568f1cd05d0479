#include "launcher/pipeline_forecast.h"

#include <algorithm>

#include "launcher/traffic_plan.h"

namespace dualpath {

namespace {

bool overlaps(const TrainerOptions& options) {
  return options.parallel.overlap == Overlap::on;
}

// Of the pieces of one stage, in their order.
std::vector<PieceCosts> piece_costs(const TrainerOptions& options, const ParallelLayout& layout,
                                    const Rates& rates) {
  const ActivationMemory memory =
      measure_activations(options.model, model_options(options, layout));
  const auto cost = [&](double flops, const Traffic& traffic) {
    const double computing = flops / rates.flops;
    const double sending = static_cast<double>(traffic.total_bytes()) / rates.link_bytes;
    return overlaps(options) ? std::max(computing, sending) : computing + sending;
  };
  std::vector<PieceCosts> costs;
  for (std::size_t i = 0; i < memory.flops.size(); ++i) {
    const PassFlops& flops = memory.flops[i];
    const PassTraffic traffic = tensor_traffic(options, layout.part.stages[i]);
    costs.push_back({.forward = cost(flops.forward, traffic.forward),
                     .backward_input = cost(flops.backward, traffic.backward),
                     .backward_weight = cost(flops.backward_weights, {})});
  }
  return costs;
}

struct StepCosts {
  PipelineCosts pieces;
  double after_passes = 0;  // the longest of all stages
};

StepCosts step_costs(const TrainerOptions& options, const Rates& rates) {
  const GridShape grid = grid_shape(options.parallel);
  const std::int64_t micro_batches = batch_layout(options, 0).accumulation;
  const PipelineShape shape = pipeline_shape(options.parallel, micro_batches);
  StepCosts costs;
  costs.pieces.pieces.resize(static_cast<std::size_t>(shape.pieces()));
  costs.pieces.link = static_cast<double>(message_bytes(options)) / rates.link_bytes;
  for (int stage = 0; stage < shape.stages; ++stage) {
    const int rank = fullest_rank(grid, stage);
    const std::vector<PieceCosts> pieces = piece_costs(
        options, make_layout(options.model, options.parallel, micro_batches, rank), rates);
    double beside = 0;
    for (int chunk = 0; chunk < shape.chunks; ++chunk) {
      const PieceCosts& piece = pieces[static_cast<std::size_t>(chunk)];
      costs.pieces.pieces[static_cast<std::size_t>(shape.piece(stage, chunk))] = piece;
      if (overlaps(options)) beside += piece.total();
    }
    const GridTraffic traffic = predict_traffic(options, rank);
    double bytes = 0;
    for (std::size_t group = 0; group < traffic.groups.size(); ++group) {
      const bool in_passes = group == static_cast<std::size_t>(GridGroup::tensor) ||
                             group == static_cast<std::size_t>(GridGroup::pipeline);
      if (!in_passes) bytes += static_cast<double>(traffic.groups[group].total_bytes());
    }
    costs.after_passes = std::max(costs.after_passes, bytes / rates.link_bytes - beside);
  }
  return costs;
}

Simulation simulate_passes(const TrainerOptions& options, const PipelineCosts& costs) {
  return simulate(stage_plans(options.parallel, batch_layout(options, 0).accumulation), costs,
                  overlaps(options) ? Exchanges::overlapped : Exchanges::blocking);
}

}  // namespace

int fullest_rank(const GridShape& grid, int stage) {
  return rank_of({.tensor = grid.tensor - 1, .data = 0, .pipeline = stage}, grid);
}

Simulation forecast_passes(const TrainerOptions& options, const Rates& rates) {
  return simulate_passes(options, step_costs(options, rates).pieces);
}

double forecast_step(const TrainerOptions& options, const Rates& rates) {
  const StepCosts costs = step_costs(options, rates);
  return simulate_passes(options, costs.pieces).makespan + costs.after_passes;
}

}  // namespace dualpath
