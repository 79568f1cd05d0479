#include "launcher/pipeline_forecast.h"

namespace dualpath {

Simulation forecast_passes(const TrainerOptions& options, double link) {
  const GridShape grid = grid_shape(options.parallel);
  const std::int64_t micro_batches = batch_layout(options, 0).accumulation;
  const PipelineShape shape = pipeline_shape(options.parallel, micro_batches);
  PipelineCosts costs{.pieces = std::vector<PieceCosts>(static_cast<std::size_t>(shape.pieces())),
                      .link = link};
  for (int stage = 0; stage < shape.stages; ++stage) {
    const int rank = rank_of({.pipeline = stage}, grid);
    const ParallelLayout layout = make_layout(options.model, options.parallel, micro_batches, rank);
    const ActivationMemory memory =
        measure_activations(options.model, model_options(options, layout));
    for (int chunk = 0; chunk < shape.chunks; ++chunk) {
      const PassFlops& flops = memory.flops[static_cast<std::size_t>(chunk)];
      costs.pieces[static_cast<std::size_t>(shape.piece(stage, chunk))] = {
          flops.forward, flops.backward, flops.backward_weights};
    }
  }
  const bool overlap = options.parallel.overlap == Overlap::on;
  return simulate(stage_plans(options.parallel, micro_batches), costs,
                  overlap ? Exchanges::overlapped : Exchanges::blocking);
}

}  // namespace dualpath
