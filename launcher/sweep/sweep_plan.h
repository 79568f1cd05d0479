// What a sweep consists of: plain data, as the grid gives it and sweep.json holds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/sweep/sweep_config.h"

namespace dualpath {

// The model of a run, by what the sweep varies in it.
struct SweepCell {
  SweepArchitecture architecture = SweepArchitecture::dual_path;
  std::int64_t iterations = 0;   // K; 0 where the architecture has none
  double deep_share = 0;         // α as asked for; 0 where nothing is divided by it
  double layer_flop_budget = 0;  // F: forward FLOPs per token and layer; 0 where sizes are given
  bool operator==(const SweepCell&) const = default;
};

struct InfeasibleCell {
  SweepCell cell = {};
  std::string reason;  // the bound that fails
};

struct SweepRun {
  std::string name =
      {};  // of its folder in the sweep's runs/; the same in every sweep with this run
  SweepCell cell = {};
  double training_flops = 0;  // C as asked for; 0 where the length is given otherwise
  double learning_rate = 0;
  std::int64_t seed = 0;

  // What became of it.
  std::int64_t layers = 0;
  std::int64_t deep_hidden = 0;  // h_d; 0 without a deep path
  std::int64_t wide_hidden = 0;  // h_w, also of standard layers; 0 without
  double realised_deep_share = 0;
  double budget_error = 0;  // (cost - F)/F, as model.budget_rule counts
  std::int64_t parameters = 0;
  double flops_per_token = 0;  // of training: 3 x forward
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  double realised_flops() const { return flops_per_token * static_cast<double>(tokens); }
};

struct SweepPlan {
  std::vector<SweepRun> runs;
  std::vector<InfeasibleCell> infeasible;
};

// The fields by name, for reading and writing.
template <class Visitor, class Cell>
void visit_cell(Visitor& visit, Cell& c) {
  visit.field("architecture", c.architecture);
  visit.field("iterations", c.iterations);
  visit.field("deep_share", c.deep_share);
  visit.field("layer_flop_budget", c.layer_flop_budget);
}

template <class Visitor, class Infeasible>
void visit_infeasible(Visitor& visit, Infeasible& c) {
  visit_cell(visit, c.cell);
  visit.field("reason", c.reason);
}

template <class Visitor, class Run>
void visit_run(Visitor& visit, Run& r) {
  visit.field("name", r.name);
  visit_cell(visit, r.cell);
  visit.field("training_flops", r.training_flops);
  visit.field("learning_rate", r.learning_rate);
  visit.field("seed", r.seed);
  visit.field("layers", r.layers);
  visit.field("deep_hidden", r.deep_hidden);
  visit.field("wide_hidden", r.wide_hidden);
  visit.field("realised_deep_share", r.realised_deep_share);
  visit.field("budget_error", r.budget_error);
  visit.field("parameters", r.parameters);
  visit.field("flops_per_token", r.flops_per_token);
  visit.field("steps", r.steps);
  visit.field("tokens", r.tokens);
}

}  // namespace dualpath
