// The configuration of `dualpath sweep`: that of `train`, what is varied in it, and what is asked
// of Slurm.
#pragma once

#include "launcher/slurm/submit_config.h"

namespace dualpath {

// dual_single and expanded are controls beside dual_path: its K is 1; its loop unrolled.
enum class SweepArchitecture { standard, wide, looped, dual_path, dual_single, expanded };

template <>
struct EnumNames<SweepArchitecture> {
  static constexpr std::pair<SweepArchitecture, const char*> values[] = {
      {SweepArchitecture::standard, "standard"},       {SweepArchitecture::wide, "wide"},
      {SweepArchitecture::looped, "looped"},           {SweepArchitecture::dual_path, "dual_path"},
      {SweepArchitecture::dual_single, "dual_single"}, {SweepArchitecture::expanded, "expanded"}};
};

// Where a list is empty, the value of the run's configuration counts.
struct SweepSection {
  std::string name = "default";
  std::string folder;  // "": sweeps/NAME
  std::vector<std::string> base;
  std::vector<SweepArchitecture> architectures;
  std::vector<std::int64_t> iterations;    // K
  std::vector<double> deep_shares;         // α
  std::vector<double> layer_flop_budgets;  // F
  std::vector<double> training_flops;      // C
  std::vector<double> learning_rates;
  std::vector<std::int64_t> seeds;
  std::int64_t ranks = 1;
  std::int64_t parallel_runs = 0;
  bool retry = false;
  std::string machine;
};

struct SweepConfig {
  SweepSection sweep;
  SubmitSection submit;
  RunConfig run;

  std::filesystem::path folder() const {
    return sweep.folder.empty() ? std::filesystem::path("sweeps") / sweep.name
                                : std::filesystem::path(sweep.folder);
  }
};

template <class Visitor>
void visit_fields(Visitor& visit, SweepSection& c) {
  visit.field("name", c.name, {.help = "name of the sweep"});
  visit.field("folder", c.folder,
              {.help = "where its plan and the folders of its runs go; empty: sweeps/NAME"});
  visit.field("base", c.base,
              {.help = "configuration files that are read before the given ones, which override "
                       "them; seen from the folder of the file that names them"});
  visit.field("architectures", c.architectures,
              {.help = "dual_single is dual_path with K = 1, expanded K times as many wide layers "
                       "of budget F/K; empty: model.architecture"});
  visit.field("iterations", c.iterations,
              {.help = "K of looped, dual_path and expanded; empty: model.deep.iterations",
               .min = 1,
               .max = 64});
  visit.field("deep_shares", c.deep_shares,
              {.help = "α of dual_path and dual_single; between 0 and 1; empty: "
                       "model.deep_share",
               .min = 0,
               .max = 1});
  visit.field("layer_flop_budgets", c.layer_flop_budgets,
              {.help = "F: forward FLOPs per token and layer; empty: model.layer_flop_budget",
               .unit = "FLOPs",
               .min = 1,
               .max = 1e18});
  visit.field("training_flops", c.training_flops,
              {.help = "C: training FLOPs of a run; empty: the length that the section train gives",
               .unit = "FLOPs",
               .min = 1,
               .max = 1e300});
  visit.field(
      "learning_rates", c.learning_rates,
      {.help = "peak learning rates; empty: optimizer.lr", .min = 0, .max = bounds::single});
  visit.field("seeds", c.seeds, {.help = "empty: train.seed", .min = 0, .max = bounds::seed});
  visit.field("ranks", c.ranks,
              {.help = "of each run; `sweep submit` takes submit.nodes * ranks_per_node, and "
                       "refuses what is neither that nor 1",
               .min = 1,
               .max = 1 << 16});
  visit.field("parallel_runs", c.parallel_runs,
              {.help = "that are under way side by side; 0: `sweep run` as many as GPUs, or "
                       "cores and memory, allow, `sweep submit` as many as Slurm finds room for",
               .unit = "runs",
               .min = 0,
               .max = 1 << 16});
  visit.field("retry", c.retry, {.help = "start runs again that have failed"});
  visit.field(
      "machine", c.machine,
      {.help = "file that describes the machine (see `dualpath plan --help`); empty: no times "
               "are told"});
}

template <class Visitor>
void visit_fields(Visitor& visit, SweepConfig& c) {
  visit.section("sweep", c.sweep, "what is varied");
  visit.section("submit", c.submit, "the Slurm job of each run");
  visit_fields(visit, c.run);
}

}  // namespace dualpath
