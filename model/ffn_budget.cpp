#include "model/ffn_budget.h"

#include <algorithm>
#include <cmath>

#include "model/counts.h"

namespace dualpath {

namespace {

constexpr double max_strict_error = 0.005;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// The cost of a layer without its FFNs, split as the formulas want it.
struct Costs {
  double attention;  // a
  double gates_and_routers;
  double per_hidden;  // 6d
};

ModelConfig one_layer(const ModelConfig& config, Architecture architecture, std::int64_t deep,
                      std::int64_t wide) {
  ModelConfig one = config;
  one.architecture = {architecture};
  if (one.kv_heads == 0) one.kv_heads = one.attention_heads;
  one.deep.ffn_hidden_size = deep;
  one.wide.ffn_hidden_size = wide;
  return one;
}

Costs costs_of(const ModelConfig& config, Architecture architecture, AttentionFlops attention) {
  const double a = layer_flops(one_layer(config, Architecture::standard, 0, 0), 0, attention);
  const double bare = layer_flops(one_layer(config, architecture, 0, 0), 0, attention);
  const auto k = static_cast<double>(config.deep.iterations);
  double attentions = 0;
  if (architecture == Architecture::looped) attentions = k * a;
  if (architecture == Architecture::dual_path)
    attentions = (k + (config.shared_attention ? 0 : 1)) * a;
  if (architecture == Architecture::standard || architecture == Architecture::wide) attentions = a;
  return {a, bare - attentions, 6.0 * static_cast<double>(config.hidden_size)};
}

struct Exact {
  double deep = 0;
  double wide = 0;
};

// The real-valued solution; a negative size means that attention alone exceeds its share.
Exact exact_sizes(const ModelConfig& config, Architecture architecture, const Costs& costs) {
  const double budget = config.layer_flop_budget;
  const double rest = budget - costs.gates_and_routers;  // F'
  const auto k = static_cast<double>(config.deep.iterations);
  switch (architecture) {
    case Architecture::standard:
    case Architecture::wide:
      return {0, (budget - costs.attention) / costs.per_hidden};
    case Architecture::looped:
      return {(rest / k - costs.attention) / costs.per_hidden, 0};
    case Architecture::dual_path:
      break;
  }
  const double wide_attention = config.shared_attention ? 0 : costs.attention;
  return {(config.deep_share * rest / k - costs.attention) / costs.per_hidden,
          ((1 - config.deep_share) * rest - wide_attention) / costs.per_hidden};
}

std::string infeasibility(const ModelConfig& config, Architecture architecture, const Exact& exact,
                          const Costs& costs) {
  const char* name = enum_name(architecture);
  if (architecture != Architecture::standard && architecture != Architecture::wide &&
      exact.deep <= 0) {
    const double share = architecture == Architecture::dual_path ? config.deep_share : 1;
    return fmt::format(
        "{} with K = {}: the deep path's share {:.4g} of {:.4g} FLOPs leaves {:.4g} for an "
        "iteration, "
        "but one attention alone takes {:.4g}",
        name, config.deep.iterations, share, config.layer_flop_budget,
        exact.deep * costs.per_hidden + costs.attention, costs.attention);
  }
  if (architecture != Architecture::looped && exact.wide <= 0) {
    return fmt::format("{}: the FFN that is applied once is left {:.4g} FLOPs of {:.4g}", name,
                       exact.wide * costs.per_hidden, config.layer_flop_budget);
  }
  return {};
}

std::int64_t nearest_multiple(double value, std::int64_t m) {
  return std::max<std::int64_t>(m, m * std::llround(value / static_cast<double>(m)));
}

void solve_strict(const ModelConfig& config, Architecture architecture, const Exact& exact,
                  FfnBudgetSolution& solution) {
  const std::int64_t m = config.budget_multiple;
  if (architecture == Architecture::looped || architecture == Architecture::dual_path) {
    solution.deep_hidden = nearest_multiple(exact.deep, m);
  }
  if (architecture == Architecture::looped) return;
  // The wide FFN takes what the rounded rest leaves.
  const double spent = layer_flops(one_layer(config, architecture, solution.deep_hidden, 0), 0,
                                   AttentionFlops::causal);
  solution.wide_hidden = nearest_multiple(
      (config.layer_flop_budget - spent) / (6.0 * static_cast<double>(config.hidden_size)), m);
}

// The published sizes: nominal widths in multiples of 64, built with ffn_multiple.
void solve_paper(const ModelConfig& config, Architecture architecture, const Exact& exact,
                 FfnBudgetSolution& solution) {
  const auto floor64 = [](std::int64_t x) { return std::max<std::int64_t>(64, x / 64 * 64); };
  const auto truncated = [&](double h) {
    const std::int64_t hidden = floor64(static_cast<std::int64_t>(std::floor(h)));
    std::int64_t d_ffn = floor64(hidden * 3 / 2);
    while (d_ffn > 64 && effective_hidden(d_ffn, 64) > hidden) d_ffn -= 64;
    return d_ffn;
  };
  if (architecture == Architecture::standard || architecture == Architecture::wide) {
    const std::int64_t hidden =
        64 * ceil_div(static_cast<std::int64_t>(std::floor(exact.wide)), 64);
    solution.wide_d_ffn = 64 * ceil_div(ceil_div(3 * hidden, 2), 64);
  } else {
    solution.deep_d_ffn = truncated(exact.deep);
    if (architecture == Architecture::dual_path) solution.wide_d_ffn = truncated(exact.wide);
  }
  const auto build = [&](std::int64_t d_ffn) {
    return d_ffn == 0 ? 0 : effective_hidden(d_ffn, config.ffn_multiple);
  };
  solution.deep_hidden = build(solution.deep_d_ffn);
  solution.wide_hidden = build(solution.wide_d_ffn);
}

}  // namespace

std::int64_t effective_hidden(std::int64_t d_ffn, std::int64_t multiple) {
  return multiple * ceil_div(2 * d_ffn / 3, multiple);
}

FfnBudgetSolution solve_ffn_budget(const ModelConfig& config, Architecture architecture) {
  const bool strict = config.budget_rule == BudgetRule::strict;
  const AttentionFlops attention = strict ? AttentionFlops::causal : AttentionFlops::not_counted;
  const Costs costs = costs_of(config, architecture, attention);
  const Exact exact = exact_sizes(config, architecture, costs);
  FfnBudgetSolution solution;
  solution.infeasible = infeasibility(config, architecture, exact, costs);
  if (!solution.infeasible.empty()) return solution;
  if (strict) {
    solve_strict(config, architecture, exact, solution);
  } else {
    solve_paper(config, architecture, exact, solution);
  }
  const ModelConfig built =
      one_layer(config, architecture, solution.deep_hidden, solution.wide_hidden);
  solution.error = layer_flops(built, 0, attention) / config.layer_flop_budget - 1;
  if (architecture == Architecture::dual_path) {
    const double deep =
        static_cast<double>(config.deep.iterations) *
        (costs.attention + costs.per_hidden * static_cast<double>(solution.deep_hidden));
    solution.deep_share = deep / (layer_flops(built, 0, attention) - costs.gates_and_routers);
  }
  if (strict && std::abs(solution.error) > max_strict_error) {
    solution.infeasible = fmt::format(
        "{}: sizes in multiples of {} miss the budget of {:.4g} FLOPs by {:+.2f} %, more than "
        "0.5 %",
        enum_name(architecture), config.budget_multiple, config.layer_flop_budget,
        100 * solution.error);
  }
  return solution;
}

}  // namespace dualpath
