// The layouts of a training run on a number of ranks of a machine, ranked by the time of a step.
#pragma once

#include <optional>
#include <vector>

#include "launcher/config/run_config.h"
#include "launcher/plan/machine.h"

namespace dualpath {

// Share of a rank's memory that a layout should leave free for what is not planned: libraries that
// grow, fragmentation.
inline constexpr double room_share = 0.05;

struct RankedLayout {
  ParallelConfig parallel;  // resolved
  std::int64_t micro_batch_size = 1;
  double step_seconds = 0;
  double bubble_fraction = 0;
  double memory_gb = 0;   // of the fullest rank, with its process
  double free_gb = 0;     // of the machine's
  bool is_tight = false;  // less than room_share of the machine's memory stays free

  // What the search sets, as it is given on the command line beside the config that was searched:
  // stage_layers only where that has some to take back.
  std::string overrides(const ParallelConfig& searched) const;
};

struct LayoutRanking {
  std::vector<RankedLayout> fitting;      // those with room first; of each kind, fastest first
  std::optional<RankedLayout> too_large;  // of those that do not fit, the one that wants least
};

// All tensor and pipeline sizes that divide the ranks, chunks a stage, schedules (1f1b,
// interleaved, zero_bubble), vocabulary layouts and micro-batches of powers of two; of each the
// least recomputation that fits the machine's memory, and the least that does with room. All else
// is as the config says; stages are balanced. REQUIRES: nothing else than
// layout and batch is wrong with the config.
LayoutRanking rank_layouts(const RunConfig& config, std::int64_t num_ranks, const Machine& machine);

}  // namespace dualpath
