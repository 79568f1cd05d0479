#include "launcher/plan/layout_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <set>
#include <string_view>

namespace dualpath {

namespace {

struct Candidate {
  std::int64_t ranks, tensor, pipeline, virtual_pipeline;
  double distance;  // doublings of the axes
};

double doublings(std::int64_t from, std::int64_t to) {
  return std::abs(std::log2(static_cast<double>(to) / static_cast<double>(from)));
}

// As many as asked for, else what the asked axes divide, and powers of two.
std::set<std::int64_t> rank_counts(const ParallelConfig& asked, std::int64_t num_ranks) {
  const std::int64_t unit = asked.tensor * asked.pipeline;
  const auto power =
      static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(num_ranks)));
  const std::int64_t below = num_ranks / unit * unit;
  std::set<std::int64_t> counts{num_ranks, power, 2 * power, below + unit};
  if (below > 0) counts.insert(below);
  return counts;
}

std::vector<Candidate> candidates(const ParallelConfig& asked, std::int64_t num_ranks) {
  std::vector<Candidate> all;
  for (const std::int64_t ranks : rank_counts(asked, num_ranks)) {
    for (const std::int64_t tensor : divisors(ranks)) {
      for (const std::int64_t pipeline : divisors(ranks / tensor)) {
        const double distance = doublings(num_ranks, ranks) + doublings(asked.tensor, tensor) +
                                doublings(asked.pipeline, pipeline);
        all.push_back({ranks, tensor, pipeline, asked.virtual_pipeline, distance});
        if (asked.virtual_pipeline > 1) all.push_back({ranks, tensor, pipeline, 1, distance + 1});
      }
    }
  }
  std::ranges::stable_sort(all, {}, &Candidate::distance);
  return all;
}

RunConfig changed(RunConfig config, const Candidate& c) {
  ParallelConfig& parallel = config.parallel;
  const bool same_pieces =
      parallel.pipeline == c.pipeline && parallel.virtual_pipeline == c.virtual_pipeline;
  if (!same_pieces) parallel.stage_layers.clear();
  parallel.tensor = c.tensor;
  parallel.pipeline = c.pipeline;
  parallel.virtual_pipeline = c.virtual_pipeline;
  parallel.data = 0;
  return config;
}

}  // namespace

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> found;
  for (std::int64_t i = 1; i <= n; ++i) {
    if (n % i == 0) found.push_back(i);
  }
  return found;
}

bool is_about_layout(const ConfigProblem& problem) {
  constexpr std::string_view fields[] = {"parallel",
                                         "parallel.tensor",
                                         "parallel.pipeline",
                                         "parallel.data",
                                         "parallel.virtual_pipeline",
                                         "parallel.schedule",
                                         "parallel.stage_layers",
                                         "parallel.vocab",
                                         "parallel.recompute",
                                         "train.global_batch_size",
                                         "train.micro_batch_size"};
  return std::ranges::find(fields, problem.field) != std::end(fields);
}

bool layout_fits(const RunConfig& config, std::int64_t num_ranks) {
  ConfigProblems problems;
  validate(config, num_ranks, problems);
  return std::ranges::none_of(problems.all(), is_about_layout);
}

std::vector<std::string> nearest_layouts(const RunConfig& config, std::int64_t num_ranks,
                                         std::size_t count) {
  std::vector<std::string> found;
  for (const Candidate& c : candidates(config.parallel, num_ranks)) {
    if (found.size() == count) break;
    if (!layout_fits(changed(config, c), c.ranks)) continue;
    std::string text = fmt::format("{} ranks with parallel.tensor={} parallel.pipeline={}", c.ranks,
                                   c.tensor, c.pipeline);
    if (c.virtual_pipeline != config.parallel.virtual_pipeline)
      text += fmt::format(" parallel.virtual_pipeline={}", c.virtual_pipeline);
    found.push_back(std::move(text));
  }
  return found;
}

}  // namespace dualpath
