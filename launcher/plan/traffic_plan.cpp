#include "launcher/plan/traffic_plan.h"

#include <algorithm>

namespace dualpath {

namespace {

std::int64_t bytes_of(DType type, std::int64_t numbers) {
  return numbers * static_cast<std::int64_t>(size_of(type));
}

std::int64_t tokens_of(const TrainerOptions& options) {
  return options.micro_batch_size * options.model.sequence_length;
}

// What a sharded vocabulary takes more.
void add_vocabulary(PassTraffic& traffic, const TrainerOptions& options, const StageLayers& piece) {
  const auto ranks = static_cast<int>(options.parallel.tensor);
  const NumericTypes& types = options.types;
  const std::int64_t tokens = tokens_of(options), numbers = tokens * options.model.hidden_size;
  const auto gather = [&](Traffic& pass, DType type, std::int64_t part, std::int64_t calls) {
    pass.add(Collective::all_gather, bytes_of(type, part), ranks, calls);
  };
  const auto scatter_rows = [&](Traffic& pass) {
    pass.add(Collective::reduce_scatter, bytes_of(types.master, numbers), ranks);
  };
  if (piece.first) {
    gather(traffic.forward, DType::i32, tokens, 1);
    scatter_rows(traffic.forward);
    gather(traffic.backward, DType::i32, tokens, 1);
    gather(traffic.backward, types.stream, numbers, 1);
  }
  if (piece.last) {  // the head goes forward and backward at once
    const std::int64_t all = tokens * ranks, chunk = std::min(options.loss_chunk_tokens, all);
    gather(traffic.backward, types.operand, numbers, 1);
    gather(traffic.backward, DType::i32, tokens, 1);
    gather(traffic.backward, types.master, 3 * chunk, all / chunk);
    if (all % chunk != 0) gather(traffic.backward, types.master, 3 * (all % chunk), 1);
    scatter_rows(traffic.backward);
  }
}

void add_pipeline(Traffic& traffic, const TrainerOptions& options, const ParallelLayout& layout,
                  std::int64_t micro_batches) {
  Traffic::Count& count = traffic[Collective::exchange];
  count.calls = layout.plan.exchanges;
  for (const StageLayers& piece : layout.part.stages)
    count.bytes += micro_batches * message_bytes(options) * (!piece.first + !piece.last);
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

PassTraffic tensor_traffic(const TrainerOptions& options, const StageLayers& piece) {
  PassTraffic traffic;
  const auto ranks = static_cast<int>(options.parallel.tensor);
  if (ranks == 1) return traffic;
  std::int64_t layers = 0, gated = 0;
  for (std::int64_t i = piece.begin; i < piece.end; ++i) {
    layers += options.model.architecture_of(i) != Architecture::looped;
    gated += options.model.architecture_of(i) == Architecture::dual_path;
  }
  const std::int64_t numbers = tokens_of(options) * options.model.hidden_size;
  const std::int64_t gathered = bytes_of(options.types.operand, numbers);
  const std::int64_t scattered = bytes_of(options.types.master, numbers);
  const std::int64_t rebuilt = options.parallel.recompute == Recompute::layer ? gated : 0;
  traffic.forward.add(Collective::all_gather, gathered, ranks, layers);
  traffic.forward.add(Collective::reduce_scatter, scattered, ranks, layers);
  traffic.backward.add(Collective::all_gather, gathered, ranks, 2 * layers);
  traffic.backward.add(Collective::reduce_scatter, scattered, ranks, layers + rebuilt);
  if (options.parallel.vocab == VocabularyLayout::sharded) add_vocabulary(traffic, options, piece);
  return traffic;
}

std::int64_t message_bytes(const TrainerOptions& options) {
  return bytes_of(options.types.stream, tokens_of(options) * options.model.hidden_size);
}

GridTraffic predict_traffic(const TrainerOptions& options, int rank) {
  const std::int64_t micro_batches = batch_layout(options, rank).accumulation;
  return predict_traffic(options,
                         make_layout(options.model, options.parallel, micro_batches, rank));
}

GridTraffic predict_traffic(const TrainerOptions& options, const ParallelLayout& layout) {
  const std::int64_t micro_batches = batch_layout(options, layout.part.place.rank).accumulation;
  GridTraffic traffic;
  for (const StageLayers& piece : layout.part.stages) {
    const PassTraffic passes = tensor_traffic(options, piece);
    for (std::int64_t i = 0; i < micro_batches; ++i) {
      traffic[GridGroup::tensor] += passes.forward;
      traffic[GridGroup::tensor] += passes.backward;
    }
  }
  add_pipeline(traffic[GridGroup::pipeline], options, layout, micro_batches);
  add_replicas(traffic, options, layout);
  const std::int64_t sums = StepSums::first_readout + options.model.layers * num_readouts;
  traffic.groups[GridTraffic::world].add(Collective::all_reduce, bytes_of(DType::f64, sums),
                                         layout.shape.size());
  return traffic;
}

}  // namespace dualpath
