#include "launcher/config/parallel_layout.h"

#include <algorithm>

#include "model/counts.h"
#include "parallel/stage_balance.h"

namespace dualpath {

ParallelConfig resolve(ParallelConfig config, int num_ranks) {
  config.data = num_ranks / (config.tensor * config.pipeline);
  if (config.overlap == Overlap::automatic) config.overlap = Overlap::off;
  return config;
}

GridShape grid_shape(const ParallelConfig& parallel) {
  return {.tensor = static_cast<int>(parallel.tensor),
          .data = static_cast<int>(parallel.data),
          .pipeline = static_cast<int>(parallel.pipeline)};
}

PipelineShape pipeline_shape(const ParallelConfig& parallel, std::int64_t micro_batches) {
  return {.stages = static_cast<int>(parallel.pipeline),
          .chunks = static_cast<int>(parallel.virtual_pipeline),
          .micro_batches = static_cast<int>(micro_batches)};
}

std::vector<StagePlan> stage_plans(const ParallelConfig& parallel, std::int64_t micro_batches) {
  const bool in_place = parallel.overlap != Overlap::on;
  return plan_pipeline(parallel.schedule, pipeline_shape(parallel, micro_batches),
                       {.message = in_place ? 0 : 1});
}

// Forward FLOPs per token; a look-up costs next to nothing.
LayerCosts layer_costs(const ModelConfig& model) {
  LayerCosts costs;
  for (std::int64_t i = 0; i < model.layers; ++i)
    costs.layers.push_back(layer_flops(model, i, AttentionFlops::causal));
  costs.head = 2 * static_cast<double>(model.hidden_size) * static_cast<double>(model.vocab_size);
  return costs;
}

namespace {

// The pieces of one stage: every pipeline-th of the model's.
std::vector<StageLayers> pieces_of_stage(const ModelConfig& model, const ParallelConfig& parallel,
                                         int stage) {
  const PipelineShape shape = pipeline_shape(parallel, 1);
  const std::vector<LayerRange> ranges =
      partition_layers(layer_costs(model), parallel.stage_layers, shape);
  std::vector<StageLayers> stages;
  for (int chunk = 0; chunk < shape.chunks; ++chunk) {
    const int piece = shape.piece(stage, chunk);
    const LayerRange& range = ranges[static_cast<std::size_t>(piece)];
    stages.push_back({range.begin, range.end, piece == 0, piece + 1 == shape.pieces()});
  }
  return stages;
}

}  // namespace

ParallelLayout make_layout(const ResolvedModelConfig& model, const ParallelConfig& parallel,
                           std::int64_t micro_batches, int rank) {
  return make_layout(model, parallel, stage_plans(parallel, micro_batches), rank);
}

ParallelLayout make_layout(const ResolvedModelConfig& model, const ParallelConfig& parallel,
                           std::span<const StagePlan> plans, int rank) {
  ParallelLayout layout;
  layout.shape = grid_shape(parallel);
  const GridCoord coord = coord_of(rank, layout.shape);
  layout.plan = plans[static_cast<std::size_t>(coord.pipeline)];
  layout.part.place = {rank, layout.shape};
  layout.part.vocabulary = parallel.vocab == VocabularyLayout::sharded ? Cut::rows : Cut::whole;
  layout.part.stages = pieces_of_stage(model, parallel, coord.pipeline);
  layout.part.slots = layout.plan.slots;
  layout.part.deferred_slots = layout.plan.deferred_slots;
  layout.part.sharded_masters = parallel.zero == Zero::on;
  layout.part.message_buffers = std::max(layout.plan.buffers, 1);
  layout.reading_ranks = layout.shape.tensor * layout.shape.data;
  layout.reading_rank = coord.data * layout.shape.tensor + coord.tensor;
  layout.is_last_stage = coord.pipeline == layout.shape.pipeline - 1;
  return layout;
}

}  // namespace dualpath
