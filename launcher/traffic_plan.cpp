#include "launcher/traffic_plan.h"

#include <algorithm>

namespace dualpath {

namespace {

std::int64_t bytes_of(DType type, std::int64_t numbers) {
  return numbers * static_cast<std::int64_t>(size_of(type));
}

std::int64_t tokens_of(const TrainerOptions& options) {
  return options.micro_batch_size * options.model.sequence_length;
}

std::int64_t wide_layers(const ModelConfig& model, const ModelPart& part) {
  std::int64_t count = 0;
  for (const StageLayers& layers : part.stages) {
    for (std::int64_t i = layers.begin; i < layers.end; ++i)
      count += model.architecture_of(i) != Architecture::looped;
  }
  return count;
}

void add_tensor(Traffic& traffic, const TrainerOptions& options, const ParallelLayout& layout,
                std::int64_t micro_batches) {
  const int ranks = layout.shape.tensor;
  if (ranks == 1) return;
  const std::int64_t passes = micro_batches * wide_layers(options.model, layout.part);
  const std::int64_t numbers = tokens_of(options) * options.model.hidden_size;
  const std::int64_t scatters = options.parallel.recompute == Recompute::layer ? 3 : 2;
  traffic.add(Collective::all_gather, bytes_of(options.types.operand, numbers), ranks, 3 * passes);
  traffic.add(Collective::reduce_scatter, bytes_of(options.types.master, numbers), ranks,
              scatters * passes);
}

void add_vocabulary(Traffic& traffic, const TrainerOptions& options, const ParallelLayout& layout,
                    std::int64_t micro_batches) {
  const int ranks = layout.shape.tensor;
  if (ranks == 1 || layout.part.vocabulary == Cut::whole) return;
  const NumericTypes& types = options.types;
  const std::int64_t tokens = tokens_of(options), numbers = tokens * options.model.hidden_size;
  const auto gather = [&](DType type, std::int64_t part, std::int64_t calls) {
    traffic.add(Collective::all_gather, bytes_of(type, part), ranks, calls * micro_batches);
  };
  const auto scatter_rows = [&] {
    traffic.add(Collective::reduce_scatter, bytes_of(types.master, numbers), ranks, micro_batches);
  };
  for (const StageLayers& piece : layout.part.stages) {
    if (piece.first) {
      gather(DType::i32, tokens, 2);
      gather(types.stream, numbers, 1);
      scatter_rows();
    }
    if (piece.last) {
      const std::int64_t all = tokens * ranks, chunk = std::min(options.loss_chunk_tokens, all);
      gather(types.operand, numbers, 1);
      gather(DType::i32, tokens, 1);
      gather(types.master, 3 * chunk, all / chunk);
      if (all % chunk != 0) gather(types.master, 3 * (all % chunk), 1);
      scatter_rows();
    }
  }
}

void add_pipeline(Traffic& traffic, const TrainerOptions& options, const ParallelLayout& layout,
                  std::int64_t micro_batches) {
  const std::int64_t message =
      bytes_of(options.types.stream, tokens_of(options) * options.model.hidden_size);
  Traffic::Count& count = traffic[Collective::exchange];
  count.calls = layout.plan.exchanges;
  for (const StageLayers& piece : layout.part.stages)
    count.bytes += micro_batches * message * (!piece.first + !piece.last);
}

void add_replicas(GridTraffic& traffic, const TrainerOptions& options,
                  const ParallelLayout& layout) {
  const NumericTypes& types = options.types;
  const GridPlace& place = layout.part.place;
  const ParameterStore parameters =
      lay_out_parameters(options.model, model_options(options, layout));
  for (const ParameterRegion& region : parameters.regions()) {
    const auto ranks =
        static_cast<int>(group_members(region.group, place.rank, place.shape).size());
    if (ranks == 1) continue;
    Traffic& group = traffic[region.group];
    if (options.parallel.zero == Zero::off) {
      group.add(Collective::all_reduce, bytes_of(types.master, region.all.size()), ranks);
      continue;
    }
    const DType read = region.product && !region.looked_up ? types.operand : types.master;
    group.add(Collective::reduce_scatter, bytes_of(types.master, region.shard.size()), ranks);
    group.add(Collective::all_gather, bytes_of(read, region.shard.size()), ranks);
  }
}

}  // namespace

GridTraffic predict_traffic(const TrainerOptions& options, int rank) {
  const std::int64_t micro_batches = batch_layout(options, rank).accumulation;
  const ParallelLayout layout = make_layout(options.model, options.parallel, micro_batches, rank);
  GridTraffic traffic;
  add_tensor(traffic[GridGroup::tensor], options, layout, micro_batches);
  add_vocabulary(traffic[GridGroup::tensor], options, layout, micro_batches);
  add_pipeline(traffic[GridGroup::pipeline], options, layout, micro_batches);
  add_replicas(traffic, options, layout);
  const std::int64_t sums = StepSums::first_readout + options.model.layers * num_readouts;
  traffic.groups[GridTraffic::world].add(Collective::all_reduce, bytes_of(DType::f64, sums),
                                         layout.shape.size());
  return traffic;
}

}  // namespace dualpath
