#include "launcher/plan/step_forecast.h"

#include <algorithm>
#include <numeric>

#include "launcher/plan/machine_model.h"
#include "launcher/plan/traffic_plan.h"

namespace dualpath {

namespace {

bool overlaps(const TrainerOptions& options) {
  return options.parallel.overlap == Overlap::on;
}

bool copies_result(const ComputeOp& op) {
  if (op.output < 0 || op.work.work == Work::backward_weight) return false;
  return op.work.work == Work::forward || (op.input >= 0 && op.input != op.output);
}

// Results that do not lie where they are sent from: what their copies take on average.
void add_copies(std::vector<PieceCosts>& costs, const TrainerOptions& options,
                const ParallelLayout& layout, TimedDryRun& run) {
  const auto ops = run.device().make_ops(run.stream());
  const std::int64_t tokens = options.micro_batch_size * options.model.sequence_length;
  const Tensor message{nullptr, options.types.stream, {tokens, options.model.hidden_size}};
  const double before = run.seconds();
  ops->run(op::Copy{.out = message, .in = message});
  const double copy = run.seconds() - before;
  const auto micro_batches =
      static_cast<double>(batch_layout(options, layout.part.place.rank).accumulation);
  for (const PipelineOp& op : layout.plan.ops) {
    const auto* work = std::get_if<ComputeOp>(&op);
    if (work == nullptr || !copies_result(*work)) continue;
    PieceCosts& piece = costs[static_cast<std::size_t>(work->work.chunk)];
    (work->work.work == Work::forward ? piece.forward : piece.backward_input) +=
        copy / micro_batches;
  }
}

// The costs of the pieces of one stage, in order.
std::vector<PieceCosts> piece_costs(const TrainerOptions& options, const Machine& machine,
                                    const StageForecast& stage, TimedDryRun& run) {
  const GridPlace& place = stage.layout.part.place;
  const std::vector<int> members = group_members(GridGroup::tensor, place.rank, place.shape);
  const auto cost = [&](double computing, const Traffic& traffic) {
    const double sending = seconds_of(traffic, members, machine);
    return overlaps(options) ? std::max(computing, sending) : computing + sending;
  };
  std::vector<PieceCosts> costs;
  for (std::size_t i = 0; i < stage.activations.passes.size(); ++i) {
    const PassCosts& pass = stage.activations.passes[i];
    const PassTraffic traffic = tensor_traffic(options, stage.layout.part.stages[i]);
    costs.push_back({.forward = cost(pass.forward, traffic.forward),
                     .backward_input = cost(pass.backward, traffic.backward),
                     .backward_weight = pass.backward_weights});
  }
  add_copies(costs, options, stage.layout, run);
  return costs;
}

// What a trainer issues once a step.
double update_seconds(const TrainerOptions& options, const ParallelLayout& layout,
                      TimedDryRun& run) {
  const double before = run.seconds();
  const ParameterStore parameters =
      lay_out_parameters(options.model, model_options(options, layout));
  const GridPlace& place = layout.part.place;
  const bool sharded = options.parallel.zero == Zero::on;
  const auto ops = run.device().make_ops(run.stream());
  const Tensor one{nullptr, DType::f64, {1}};
  ops->run(op::Fill{.out = parameters.flat_gradients(), .value = 0});
  ops->run(op::Fill{
      .out = {nullptr, DType::f64, {StepSums::first_readout + options.model.layers * num_readouts}},
      .value = 0});
  for (const StepSums::Slot slot :
       {StepSums::computing_ms, StepSums::pipeline_ms, StepSums::stop, StepSums::save}) {
    ops->run(op::Fill{.out = one, .value = static_cast<double>(slot)});
  }
  AdamW optimizer(options.optimizer, parameters, sharded, run.device(), run.stream());
  optimizer.add_gradient_squares(one, parameters);
  optimizer.update(parameters, 1, 0, 1);
  for (const ParameterRegion& region : parameters.regions()) {
    const bool gathered =
        sharded && group_members(region.group, place.rank, place.shape).size() > 1;
    const Tensor copies = parameters.operands_of(region, region.all);
    if (gathered && region.looked_up && !copies.empty())
      ops->run(op::Copy{.out = copies, .in = parameters.values_of(region, region.all)});
  }
  return run.seconds() - before;
}

double message_seconds(const GridTraffic& traffic, const GridPlace& place, const Machine& machine) {
  std::vector<int> world(static_cast<std::size_t>(place.shape.size()));
  std::iota(world.begin(), world.end(), 0);
  double seconds = seconds_of(traffic.groups[GridTraffic::world], world, machine);
  for (std::size_t i = 0; i < num_grid_groups; ++i) {
    const auto group = static_cast<GridGroup>(i);
    if (group == GridGroup::tensor || group == GridGroup::pipeline) continue;
    seconds +=
        seconds_of(traffic.groups[i], group_members(group, place.rank, place.shape), machine);
  }
  return seconds;
}

// A message's way between two stages.
double link_seconds(const TrainerOptions& options, const GridShape& grid, const Machine& machine) {
  Traffic message;
  message[Collective::exchange] = {.calls = 1, .bytes = message_bytes(options)};
  std::vector<int> members = group_members(GridGroup::pipeline, 0, grid);
  if (members.size() == 1) return 0;
  double longest = 0;
  for (std::size_t i = 1; i < members.size(); ++i)
    longest = std::max(longest, seconds_of(message, std::span(members).subspan(i - 1, 2), machine));
  return longest;
}

}  // namespace

int fullest_rank(const GridShape& grid, int stage) {
  return rank_of({.tensor = grid.tensor - 1, .data = 0, .pipeline = stage}, grid);
}

StepForecast forecast_step(const TrainerOptions& options, const Machine& machine) {
  const GridShape grid = grid_shape(options.parallel);
  const std::int64_t micro_batches = batch_layout(options, 0).accumulation;
  const PipelineShape shape = pipeline_shape(options.parallel, micro_batches);
  const std::vector<StagePlan> plans = stage_plans(options.parallel, micro_batches);
  PipelineCosts costs;
  costs.pieces.resize(static_cast<std::size_t>(shape.pieces()));
  costs.link = link_seconds(options, grid, machine);
  StepForecast forecast;
  TimedDryRun run(machine);
  const auto ops = run.device().make_ops(run.stream());
  for (int i = 0; i < shape.stages; ++i) {
    StageForecast& stage = forecast.stages.emplace_back();
    stage.rank = fullest_rank(grid, i);
    stage.layout = make_layout(options.model, options.parallel, plans, stage.rank);
    stage.activations = measure_activations(options.model, model_options(options, stage.layout),
                                            *ops, [&] { return run.seconds(); });
    stage.traffic = predict_traffic(options, stage.layout);
    stage.update = update_seconds(options, stage.layout, run);
    stage.messages = message_seconds(stage.traffic, stage.layout.part.place, machine);
    const std::vector<PieceCosts> pieces = piece_costs(options, machine, stage, run);
    double beside = 0;
    for (int chunk = 0; chunk < shape.chunks; ++chunk) {
      const PieceCosts& piece = pieces[static_cast<std::size_t>(chunk)];
      costs.pieces[static_cast<std::size_t>(shape.piece(i, chunk))] = piece;
      if (overlaps(options)) beside += piece.total();
    }
    forecast.after_passes =
        std::max(forecast.after_passes, stage.update + std::max(0.0, stage.messages - beside));
  }
  forecast.passes =
      simulate(plans, costs, overlaps(options) ? Exchanges::overlapped : Exchanges::blocking);
  return forecast;
}

}  // namespace dualpath
