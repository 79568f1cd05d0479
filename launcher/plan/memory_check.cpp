#include "launcher/plan/memory_check.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <map>
#include <vector>

#include "launcher/common/text_format.h"
#include "launcher/plan/job_plan.h"
#include "launcher/train/training_options.h"
#include "model/counts.h"

namespace dualpath {

namespace {

std::vector<std::string> advice(const RunConfig& config, const RankMemory& memory) {
  const ActivationMemory& passes = memory.activations;
  std::vector<std::string> helps;
  if (passes.stash_bytes + passes.scratch_bytes > memory.total() / 2) {
    if (config.train.micro_batch_size > 1) helps.emplace_back("a smaller train.micro_batch_size");
    if (config.parallel.recompute != Recompute::layer)
      helps.emplace_back("parallel.recompute=iteration or layer");
    if (config.train.precision == Precision::fp32) helps.emplace_back("train.precision=bf16");
    helps.emplace_back("a smaller model.sequence_length");
  } else {
    helps.emplace_back("a smaller model");
    helps.emplace_back("more ranks on other hosts (parallel.tensor, parallel.pipeline)");
  }
  return helps;
}

}  // namespace

std::string memory_problem(RunConfig config, std::int64_t num_ranks, const HostRanks& ranks,
                           std::int64_t host_bytes) {
  // As planned where it is open; of unknown rows the least.
  if (config.model.vocab_size == 0)
    config.model.vocab_size = std::max<std::int64_t>(128, config.parallel.tensor);
  const ResolvedRunConfig resolved = resolve(std::move(config), num_ranks, Processor::cpu);
  const TrainerOptions options = trainer_options(resolved, 1);
  const std::int64_t ranks_of_stage = num_ranks / resolved.parallel.pipeline;
  std::map<std::int64_t, RankMemory> of_stage;
  RankMemory most;
  double all = 0;
  for (std::int64_t rank = ranks.first; rank < ranks.first + ranks.count; ++rank) {
    const auto [stage, is_new] = of_stage.try_emplace(rank / ranks_of_stage);
    if (is_new) stage->second = plan_memory(options, static_cast<int>(rank));
    all += static_cast<double>(stage->second.total());
    if (stage->second.total() > most.total()) most = stage->second;
  }
  if (all <= static_cast<double>(host_bytes)) return "";
  const ActivationMemory& passes = most.activations;
  const auto text = [](std::size_t bytes) { return size_text(static_cast<double>(bytes)); };
  return fmt::format(
      "too large for this machine: a rank takes {} of memory (weights {}, gradients {}, moments "
      "{}, kept activations {}, scratch {}){}; this host has {}. What helps: {}. `dualpath plan` "
      "tells what takes how much",
      text(most.total()), text(most.values + most.copies), text(most.gradients), text(most.moments),
      text(passes.stash_bytes), text(passes.scratch_bytes),
      ranks.count == 1 ? "" : fmt::format(", {} ranks {}", ranks.count, size_text(all)),
      size_text(static_cast<double>(host_bytes)), fmt::join(advice(resolved, most), "; "));
}

}  // namespace dualpath
