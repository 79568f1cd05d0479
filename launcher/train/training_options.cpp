#include "launcher/train/training_options.h"

#include <algorithm>
#include <cmath>

#include "launcher/job/backend_choice.h"
#include "model/counts.h"
#include "model/resolve_config.h"

namespace dualpath {

ResolvedRunConfig resolve(RunConfig config, Job& job, const Device& device, Log& log) {
  config.parallel.backend = choose_backend(config.parallel.backend, job, device, log);
  const bool by_gpus = config.parallel.backend == CommunicationBackend::nccl;
  // All ranks must carry out one plan: none overlaps where one has no core for it.
  const bool spare = job.has_spare_cores(job.num_threads(config.train.threads));
  const std::vector<std::string> all = job.world().all_gather(spare ? "spare" : "");
  const bool all_spare = std::ranges::count(all, "") == 0;
  if (config.parallel.overlap == Overlap::automatic)
    config.parallel.overlap = by_gpus || all_spare ? Overlap::on : Overlap::off;
  return resolve(std::move(config), job.world().size(),
                 device.is_host_memory() ? Processor::cpu : Processor::gpu);
}

std::int64_t total_steps(const RunConfig& config, const TrainingProgress& done) {
  const TrainConfig& train = config.train;
  if (train.steps > 0) return train.steps;
  const auto tokens_per_step =
      static_cast<double>(train.global_batch_size * config.model.sequence_length);
  const double tokens = train.tokens > 0 ? static_cast<double>(train.tokens)
                                         : train.flops / training_flops(resolve(config.model),
                                                                        AttentionFlops::causal);
  const double left = tokens - static_cast<double>(done.consumed_tokens);
  return done.step + std::max<std::int64_t>(0, std::llround(std::ceil(left / tokens_per_step)));
}

TrainerOptions trainer_options(const ResolvedRunConfig& config, std::int64_t total_steps) {
  return {.model = resolve(config.model),
          .optimizer = config.optimizer,
          .regularizers = config.train.regularizers,
          .types = numeric_types(config.train.precision, config.train.residual_precision),
          .parallel = config.parallel,
          .global_batch_size = config.train.global_batch_size,
          .micro_batch_size = config.train.micro_batch_size,
          .loss_chunk_tokens = config.train.loss_chunk_tokens,
          .prefetch_batches = config.data.prefetch_batches,
          .total_steps = total_steps,
          .seed = static_cast<std::uint64_t>(config.train.seed),
          .cuda_graphs = config.train.cuda_graphs};
}

}  // namespace dualpath
