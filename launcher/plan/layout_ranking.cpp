#include "launcher/plan/layout_ranking.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "launcher/plan/job_plan.h"
#include "launcher/plan/layout_search.h"
#include "launcher/train/training_options.h"

namespace dualpath {

namespace {

// Calls visit(config) for every layout, recomputation and micro-batch left as they are.
template <class Visit>
void for_each_layout(RunConfig config, std::int64_t num_ranks, const Visit& visit) {
  ParallelConfig& parallel = config.parallel;
  parallel.data = 0;
  parallel.stage_layers.clear();
  for (const std::int64_t tensor : divisors(num_ranks)) {
    parallel.tensor = tensor;
    for (const std::int64_t pipeline : divisors(num_ranks / tensor)) {
      parallel.pipeline = pipeline;
      const std::int64_t most_chunks = pipeline == 1 ? 1 : config.model.layers / pipeline;
      for (std::int64_t chunks = 1; chunks <= most_chunks; ++chunks) {
        parallel.virtual_pipeline = chunks;
        for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zero_bubble}) {
          if (schedule == Schedule::zero_bubble && (chunks > 1 || pipeline == 1)) continue;
          parallel.schedule = schedule;
          for (const VocabularyLayout vocab :
               {VocabularyLayout::replicated, VocabularyLayout::sharded}) {
            if (vocab == VocabularyLayout::sharded && tensor == 1) continue;
            parallel.vocab = vocab;
            visit(config);
          }
        }
      }
    }
  }
}

RankedLayout planned(const ResolvedRunConfig& config, const Machine& machine) {
  const JobPlan plan = plan_job(trainer_options(config, 1), machine);
  const double memory_gb =
      static_cast<double>(plan.largest_memory()) / 1e9 + machine.process_mb / 1e3;
  const double free_gb = machine.memory_gb - memory_gb;
  return {.parallel = config.parallel,
          .micro_batch_size = config.train.micro_batch_size,
          .step_seconds = plan.step_seconds,
          .bubble_fraction = plan.bubble_fraction,
          .memory_gb = memory_gb,
          .free_gb = free_gb,
          .is_tight = free_gb < room_share * machine.memory_gb};
}

// Recomputation adds work and nothing else: the least that fits is the fastest. Where that fits
// tightly, so is the least that leaves room.
void add_layout(LayoutRanking& ranking, ResolvedRunConfig config, const Machine& machine) {
  bool found = false;
  for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
    config.parallel.recompute = recompute;
    const RankedLayout layout = planned(config, machine);
    if (layout.memory_gb <= machine.memory_gb) {
      // More of it that is as tight is only slower.
      if (!layout.is_tight || !found) ranking.fitting.push_back(layout);
      found = true;
      if (!layout.is_tight) return;
      continue;
    }
    if (!ranking.too_large || layout.memory_gb < ranking.too_large->memory_gb)
      ranking.too_large = layout;
  }
}

}  // namespace

std::string RankedLayout::overrides(const ParallelConfig& searched) const {
  return fmt::format(
      "parallel.tensor={} parallel.pipeline={} parallel.data={} parallel.virtual_pipeline={} "
      "parallel.schedule={}{} parallel.vocab={} parallel.recompute={} train.micro_batch_size={}",
      parallel.tensor, parallel.pipeline, parallel.data, parallel.virtual_pipeline,
      enum_name(parallel.schedule),
      searched.stage_layers.empty() ? "" : " parallel.stage_layers=[]", enum_name(parallel.vocab),
      enum_name(parallel.recompute), micro_batch_size);
}

LayoutRanking rank_layouts(const RunConfig& config, std::int64_t num_ranks,
                           const Machine& machine) {
  LayoutRanking ranking;
  for_each_layout(config, num_ranks, [&](const RunConfig& candidate) {
    const std::int64_t readers = num_ranks / candidate.parallel.pipeline;
    for (std::int64_t micro_batch = 1; micro_batch * readers <= config.train.global_batch_size;
         micro_batch *= 2) {
      RunConfig sized = candidate;
      sized.train.micro_batch_size = micro_batch;
      if (!layout_fits(sized, num_ranks)) continue;
      add_layout(ranking, resolve(std::move(sized), num_ranks, machine.processor), machine);
    }
  });
  std::ranges::stable_sort(ranking.fitting, {}, [](const RankedLayout& layout) {
    return std::pair(layout.is_tight, layout.step_seconds);
  });
  return ranking;
}

}  // namespace dualpath
