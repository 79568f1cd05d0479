// From a configuration to what each rank has and does: pure functions of model, layout and rank.
#pragma once

#include <span>
#include <vector>

#include "model/config.h"
#include "model/model.h"
#include "parallel/parallel_config.h"
#include "parallel/pipeline_plan.h"
#include "parallel/process_grid.h"
#include "parallel/stage_balance.h"

namespace dualpath {

// Fills what was left open: the data axis; communication does not overlap. REQUIRES: validate found
// nothing.
ParallelConfig resolve(ParallelConfig config, int num_ranks);

struct ParallelLayout {
  GridShape shape;
  // What this rank's pipeline stage has and does.
  ModelPart part;
  StagePlan plan;
  // The sequences of a step are dealt out to this many ranks, of which this is one; the stages of a
  // pipeline read the same.
  int reading_rank = 0;
  int reading_ranks = 1;
  bool is_last_stage = true;
};

// REQUIRES: `parallel` is resolved and both validate on shape.size() ranks.
ParallelLayout make_layout(const ResolvedModelConfig& model, const ParallelConfig& parallel,
                           std::int64_t micro_batches, int rank);
// The same where the plans of all stages are known.
ParallelLayout make_layout(const ResolvedModelConfig& model, const ParallelConfig& parallel,
                           std::span<const StagePlan> plans, int rank);

GridShape grid_shape(const ParallelConfig& parallel);

// The plans of all stages. Where communication does not overlap, receives are issued late.
std::vector<StagePlan> stage_plans(const ParallelConfig& parallel, std::int64_t micro_batches);

PipelineShape pipeline_shape(const ParallelConfig& parallel, std::int64_t micro_batches);

// The costs by which stages are balanced.
LayerCosts layer_costs(const ModelConfig& model);

}  // namespace dualpath
