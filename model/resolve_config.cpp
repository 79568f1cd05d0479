#include "model/resolve_config.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>

#include "core/base/error.h"
#include "model/ffn_budget.h"

namespace dualpath {

namespace {

struct UsedPaths {
  bool deep = false;
  bool wide = false;  // or the one path of a standard layer
};

UsedPaths used_paths(const ModelConfig& config) {
  UsedPaths used;
  for (Architecture a : config.architecture) {
    used.deep |= a == Architecture::looped || a == Architecture::dual_path;
    used.wide |= a != Architecture::looped;
  }
  return used;
}

void validate_attention(const ModelConfig& c, ConfigProblems& problems) {
  if (c.hidden_size % c.attention_heads != 0) {
    problems.add("model.attention_heads", fmt::format("{} heads do not divide hidden_size {}",
                                                      c.attention_heads, c.hidden_size));
    return;
  }
  if (c.head_size() % 2 != 0) {
    problems.add("model.attention_heads",
                 fmt::format("{} heads give head size {}, which rotary positions need even",
                             c.attention_heads, c.head_size()));
  }
  if (c.kv_heads != 0 && c.attention_heads % c.kv_heads != 0) {
    problems.add("model.kv_heads",
                 fmt::format("{} key/value heads do not divide {} attention heads", c.kv_heads,
                             c.attention_heads));
  }
}

void validate_budget(const ModelConfig& c, ConfigProblems& problems) {
  const bool uniform = std::all_of(c.architecture.begin(), c.architecture.end(),
                                   [&](Architecture a) { return a == c.architecture[0]; });
  if (!uniform) {
    problems.add("model.layer_flop_budget", "needs the same architecture in all layers");
    return;
  }
  if (c.hidden_size % c.attention_heads != 0) return;  // reported already
  const FfnBudgetSolution solution = solve_ffn_budget(c, c.architecture[0]);
  if (!solution.infeasible.empty()) problems.add("model.layer_flop_budget", solution.infeasible);
}

std::int64_t multiple_of_64(double size) {
  return std::max<std::int64_t>(64, 64 * std::llround(size / 64));
}

// Sizes in the proportions of the paper's and of usual models.
std::string proposed_sizes(const ModelConfig& c) {
  const UsedPaths used = used_paths(c);
  const auto d = static_cast<double>(c.hidden_size);
  std::vector<std::string> sizes;
  if (used.deep) {
    sizes.push_back(fmt::format("model.deep.ffn_hidden_size={}",
                                multiple_of_64(used.wide ? 2 * d : 8 * d / 3)));
  }
  if (used.wide) {
    sizes.push_back(fmt::format("model.wide.ffn_hidden_size={}",
                                multiple_of_64(used.deep ? 16 * d / 3 : 8 * d / 3)));
  }
  return fmt::format("{}", fmt::join(sizes, " "));
}

std::string given_sizes(const ModelConfig& c) {
  std::vector<std::string> given;
  const auto add = [&](const char* key, auto value) {
    if (value != 0) given.push_back(fmt::format("{} = {}", key, value));
  };
  add("model.deep.ffn_hidden_size", c.deep.ffn_hidden_size);
  add("model.wide.ffn_hidden_size", c.wide.ffn_hidden_size);
  add("model.deep.d_ffn", c.deep.d_ffn);
  add("model.wide.d_ffn", c.wide.d_ffn);
  add("model.layer_flop_budget", c.layer_flop_budget);
  return fmt::format("{}", fmt::join(given, ", "));
}

// FFN sizes come from exactly one source: hidden sizes, nominal widths, or a budget.
void validate_ffn_sizes(const ModelConfig& c, ConfigProblems& problems) {
  const bool by_hidden = c.deep.ffn_hidden_size != 0 || c.wide.ffn_hidden_size != 0;
  const bool by_d_ffn = c.deep.d_ffn != 0 || c.wide.d_ffn != 0;
  const bool by_budget = c.layer_flop_budget != 0;
  if (by_hidden + by_d_ffn + by_budget != 1) {
    const std::string given = given_sizes(c);
    problems.add(
        "model",
        fmt::format(
            "FFN sizes need exactly one of ffn_hidden_size, d_ffn and layer_flop_budget; {}",
            given.empty() ? fmt::format("none is given. For hidden_size {}, {} would do",
                                        c.hidden_size, proposed_sizes(c))
                          : fmt::format("{} are given, set the others to 0", given)));
    return;
  }
  if (by_budget) {
    validate_budget(c, problems);
    return;
  }
  const UsedPaths used = used_paths(c);
  const char* key = by_hidden ? "ffn_hidden_size" : "d_ffn";
  if (used.deep && (by_hidden ? c.deep.ffn_hidden_size : c.deep.d_ffn) == 0) {
    problems.add(fmt::format("model.deep.{}", key),
                 "the deep path needs a size; " + proposed_sizes(c));
  }
  if (used.wide && (by_hidden ? c.wide.ffn_hidden_size : c.wide.d_ffn) == 0) {
    problems.add(fmt::format("model.wide.{}", key),
                 "wide, standard and dual_path layers need a size; " + proposed_sizes(c));
  }
}

}  // namespace

void validate(const ModelConfig& c, ConfigProblems& problems) {
  if (c.architecture.size() != 1 && c.architecture.size() != static_cast<std::size_t>(c.layers)) {
    problems.add("model.architecture",
                 fmt::format("names {} architectures for {} layers; give one, or one a layer",
                             c.architecture.size(), c.layers));
  }
  validate_attention(c, problems);
  if (c.architecture.empty()) return;
  validate_ffn_sizes(c, problems);
}

ResolvedModelConfig resolve(ModelConfig c) {
  if (c.kv_heads == 0) c.kv_heads = c.attention_heads;
  if (c.layer_flop_budget != 0) {
    const FfnBudgetSolution solution = solve_ffn_budget(c, c.architecture[0]);
    CHECK(solution.infeasible.empty(), "{}", solution.infeasible);
    c.deep.ffn_hidden_size = solution.deep_hidden;
    c.wide.ffn_hidden_size = solution.wide_hidden;
  }
  if (c.deep.d_ffn != 0) c.deep.ffn_hidden_size = effective_hidden(c.deep.d_ffn, c.ffn_multiple);
  if (c.wide.d_ffn != 0) c.wide.ffn_hidden_size = effective_hidden(c.wide.d_ffn, c.ffn_multiple);
  // The sizes now stand verbatim; their sources must not be given beside them.
  c.layer_flop_budget = 0;
  c.deep.d_ffn = 0;
  c.wide.d_ffn = 0;
  return ResolvedModelConfig(std::move(c));
}

}  // namespace dualpath
