// FFN sizes that make a layer cost a given number of forward FLOPs per token, so that architectures
// can be compared at equal cost.
// Source: arXiv 2605.30202 and its authors' configurations. With F the budget, K iterations,
// F' = F - gates - routers and a the cost of one attention:
//   standard, wide   h   = (F - a)/(6d)
//   looped           h_d = (F'/K - a)/(6d)
//   dual_path        h_d = (α·F'/K - a)/(6d),  h_w = ((1-α)·F' - a)/(6d)
#pragma once

#include <cstdint>
#include <string>

#include "model/config.h"

namespace dualpath {

struct FfnBudgetSolution {
  std::int64_t deep_hidden = 0;  // h_d; 0 where the architecture has no deep path
  std::int64_t wide_hidden = 0;  // h_w, also of standard layers
  std::int64_t deep_d_ffn = 0;   // nominal widths; only with BudgetRule::paper
  std::int64_t wide_d_ffn = 0;
  double deep_share = 0;   // realised α; 0 unless dual_path
  double error = 0;        // (cost - budget)/budget, with the attention FLOPs the rule counts
  std::string infeasible;  // which bound fails, empty where there is a solution
};

// Sizes of one layer of `architecture` under config.layer_flop_budget, budget_rule, deep_share.
// `strict` counts causal attention, rounds to budget_multiple and fails beyond 0.5 % error; `paper`
// counts no attention products and reproduces the published d_ffn, whose true error it reports.
FfnBudgetSolution solve_ffn_budget(const ModelConfig& config, Architecture architecture);

// h = m·⌈⌊2·d_ffn/3⌋/m⌉: hidden units of a nominal width.
std::int64_t effective_hidden(std::int64_t d_ffn, std::int64_t multiple);

}  // namespace dualpath
