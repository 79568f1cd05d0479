#include "launcher/config/resolve_run.h"

#include "launcher/config/micro_batch.h"
#include "launcher/config/parallel_layout.h"
#include "model/resolve_config.h"

namespace dualpath {

ResolvedRunConfig resolve(RunConfig config, std::int64_t num_ranks, Processor processor) {
  config.model = resolve(config.model);
  config.parallel = resolve(config.parallel, static_cast<int>(num_ranks));
  config.train.micro_batch_size = choose_micro_batch(config, processor);
  return ResolvedRunConfig(std::move(config));
}

}  // namespace dualpath
