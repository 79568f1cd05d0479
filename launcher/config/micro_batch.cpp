#include "launcher/config/micro_batch.h"

#include <algorithm>

#include "launcher/config/parallel_layout.h"
#include "model/activation_memory.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

struct Limits {
  std::int64_t tokens;  // of a micro-batch
  std::size_t bytes;    // of kept activations
};

Limits limits_of(const RunConfig& config, Processor processor) {
  constexpr std::size_t gib = std::size_t{1} << 30;
  const bool gpu = processor == Processor::gpu ||
                   (processor == Processor::unknown && config.train.device == DeviceChoice::cuda);
  return gpu ? Limits{16384, 16 * gib} : Limits{2048, gib};
}

bool suits_pipeline(const ParallelConfig& parallel, std::int64_t sequences, std::int64_t count) {
  const std::int64_t stages = parallel.pipeline;
  if (stages > 1 && count < std::min(sequences, 4 * stages)) return false;
  return schedule_problem(parallel.schedule, pipeline_shape(parallel, count)).empty();
}

// On a rank of the first stage, which holds the most micro-batches.
std::size_t kept_bytes(const RunConfig& config, std::int64_t micro_batch, std::int64_t count) {
  ModelConfig model = config.model;
  if (model.vocab_size == 0) model.vocab_size = config.parallel.tensor;  // keeps no activations
  const ResolvedModelConfig resolved = resolve(std::move(model));
  const ParallelLayout layout = make_layout(resolved, config.parallel, count, 0);
  return measure_activations(resolved, {.types = numeric_types(config.train.precision,
                                                               config.train.residual_precision),
                                        .micro_batch_size = micro_batch,
                                        .recompute = config.parallel.recompute,
                                        .loss_chunk_tokens = 1,
                                        .part = layout.part})
      .stash_bytes;
}

}  // namespace

std::int64_t choose_micro_batch(const RunConfig& config, Processor processor) {
  if (config.train.micro_batch_size > 0) return config.train.micro_batch_size;
  const ParallelConfig& parallel = config.parallel;
  const std::int64_t sequences = config.train.global_batch_size / (parallel.tensor * parallel.data);
  const Limits limits = limits_of(config, processor);
  for (std::int64_t size = limits.tokens / config.model.sequence_length; size > 1; --size) {
    const std::int64_t count = sequences / size;
    if (sequences % size != 0 || !suits_pipeline(parallel, sequences, count)) continue;
    if (kept_bytes(config, size, count) <= limits.bytes) return size;
  }
  return 1;
}

}  // namespace dualpath
