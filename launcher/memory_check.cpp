#include "launcher/memory_check.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <map>
#include <vector>

#include "launcher/job_plan.h"
#include "launcher/training_options.h"
#include "model/counts.h"

namespace dualpath {

namespace {

constexpr double most_bytes = 0x1p56;
constexpr double state_bytes = 16;  // of a parameter: value, gradient, two moments

// "139 MB", "35.2 TB"
std::string size_text(double bytes) {
  constexpr const char* units[] = {"MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  double size = bytes / 1e6;
  for (; size >= 999.5 && unit + 1 < std::size(units); ++unit) size /= 1000;
  return fmt::format("{:.3g} {}", size, units[unit]);
}

// Values that a token's passes may keep, at the most.
double values_of_token(const ModelConfig& c) {
  const auto d = static_cast<double>(c.hidden_size);
  const double units =
      static_cast<double>(std::max(c.deep.ffn_hidden_size, c.wide.ffn_hidden_size));
  const double applied = static_cast<double>(c.layers) * static_cast<double>(c.deep.iterations + 1);
  return applied * (32 * d + 8 * units);
}

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

void validate_memory(const RunConfig& config, ConfigProblems& problems) {
  const ModelConfig model = resolve(config.model);
  const TrainConfig& train = config.train;
  const auto length = static_cast<double>(model.sequence_length);
  const double state = state_bytes * static_cast<double>(model_parameters(model));
  const double activations =
      4 * length * static_cast<double>(train.micro_batch_size) * values_of_token(model);
  const double logits =
      4 * static_cast<double>(train.loss_chunk_tokens) * static_cast<double>(model.vocab_size);
  const double batches = 8 * length * static_cast<double>(train.global_batch_size) *
                         static_cast<double>(config.data.prefetch_batches);
  const auto check = [&](const char* field, double bytes, const char* what) {
    if (bytes <= most_bytes) return;
    problems.add(field, fmt::format("{} would take up to {} of memory, more than any machine has",
                                    what, size_text(bytes)));
  };
  check("model", state, "weights, gradients and moments");
  check("train.micro_batch_size", activations, "the activations of a micro-batch");
  check("train.loss_chunk_tokens", logits, "a chunk's logits");
  check("data.prefetch_batches", batches, "batches read ahead");
}

std::string memory_problem(const RunConfig& config, std::int64_t num_ranks, const HostRanks& ranks,
                           std::int64_t host_bytes) {
  RunConfig resolved = config;
  resolved.model = resolve(config.model);
  // As planned where it is open; of unknown rows the least.
  if (resolved.model.vocab_size == 0)
    resolved.model.vocab_size = std::max<std::int64_t>(128, config.parallel.tensor);
  resolved.parallel = resolve(config.parallel, static_cast<int>(num_ranks), false);
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
