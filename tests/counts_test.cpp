// Parameter counts and FFN sizes against the published ones of arXiv 2605.30202 (d 768, L 16, 12
// heads, V 50304, untied).
#include "model/counts.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "model/ffn_budget.h"
#include "model/parameter_store.h"
#include "model/resolve_config.h"
#include "model/stage.h"

namespace dualpath {
namespace {

ModelConfig paper_model(Architecture architecture, std::int64_t iterations, double alpha) {
  ModelConfig config;
  config.architecture = {architecture};
  config.layers = 16;
  config.hidden_size = 768;
  config.attention_heads = 12;
  config.sequence_length = 4096;
  config.vocab_size = 50304;
  config.deep.iterations = iterations;
  config.deep_share = alpha;
  return config;
}

struct Published {
  double budget;
  Architecture architecture;
  std::int64_t iterations;
  double alpha;
  std::int64_t deep_d_ffn, wide_d_ffn;
  std::int64_t millions;
};

constexpr auto looped = Architecture::looped;
constexpr auto wide = Architecture::wide;
constexpr auto dual = Architecture::dual_path;

const std::vector<Published> published = {
    {80e6, wide, 1, 0, 0, 24576, 719},        {80e6, looped, 2, 0, 11392, 0, 398},
    {80e6, looped, 3, 0, 7104, 0, 294},       {80e6, looped, 4, 0, 4864, 0, 238},
    {80e6, dual, 2, .25, 1600, 17920, 644},   {80e6, dual, 3, .25, 576, 17920, 615},
    {80e6, dual, 4, .25, 64, 17920, 606},     {80e6, dual, 2, .5, 4864, 11392, 559},
    {80e6, dual, 3, .5, 2752, 11392, 511},    {80e6, dual, 4, .5, 1600, 11392, 483},
    {80e6, dual, 2, .75, 8128, 4864, 483},    {80e6, dual, 3, .75, 4864, 4864, 398},
    {80e6, dual, 4, .75, 3264, 4864, 360},    {160e6, wide, 1, 0, 0, 50624, 1361},
    {160e6, looped, 2, 0, 24448, 0, 719},     {160e6, looped, 3, 0, 15744, 0, 502},
    {160e6, looped, 4, 0, 11392, 0, 398},     {160e6, dual, 2, .25, 4864, 37440, 1200},
    {160e6, dual, 3, .25, 2752, 37440, 1153}, {160e6, dual, 4, .25, 1600, 37440, 1125},
    {160e6, dual, 2, .5, 11392, 24448, 1040}, {160e6, dual, 3, .5, 7104, 24448, 936},
    {160e6, dual, 4, .5, 4864, 24448, 880},   {160e6, dual, 2, .75, 17920, 11392, 880},
    {160e6, dual, 3, .75, 11392, 11392, 719}, {160e6, dual, 4, .75, 8128, 11392, 644},
};

std::string name(const Published& p) {
  return fmt::format("{}M {} K{} alpha {}", p.budget / 1e6, enum_name(p.architecture), p.iterations,
                     p.alpha);
}

TEST(Counts, AllPublishedParameterCounts) {
  ASSERT_EQ(published.size(), 26u);
  for (const Published& p : published) {
    ModelConfig config = paper_model(p.architecture, p.iterations, p.alpha);
    config.deep.d_ffn = p.deep_d_ffn;
    config.wide.d_ffn = p.wide_d_ffn;
    const std::int64_t count = model_parameters(resolve(config));
    EXPECT_EQ(std::llround(static_cast<double>(count) / 1e6), p.millions) << name(p);
  }
}

TEST(Counts, AllPublishedFfnSizesFollowFromTheBudget) {
  double smallest = 1, largest = -1;
  for (const Published& p : published) {
    ModelConfig config = paper_model(p.architecture, p.iterations, p.alpha);
    config.layer_flop_budget = p.budget;
    config.budget_rule = BudgetRule::paper;
    const FfnBudgetSolution s = solve_ffn_budget(config, p.architecture);
    EXPECT_EQ(s.infeasible, "") << name(p);
    EXPECT_EQ(s.deep_d_ffn, p.deep_d_ffn) << name(p);
    EXPECT_EQ(s.wide_d_ffn, p.wide_d_ffn) << name(p);
    smallest = std::min(smallest, s.error);
    largest = std::max(largest, s.error);
  }
  EXPECT_NEAR(smallest, -0.0046, 5e-5);
  EXPECT_NEAR(largest, 0.0471, 5e-5);
}

TEST(Counts, StrictBudgetIsMetOrRefused) {
  const auto infeasible = [](const Published& p) {
    if (p.architecture != dual) return false;
    if (p.budget == 80e6) return p.alpha == .25 || (p.alpha == .5 && p.iterations == 4);
    return p.alpha == .25 && p.iterations == 4;
  };
  for (const Published& p : published) {
    ModelConfig config = paper_model(p.architecture, p.iterations, p.alpha);
    config.layer_flop_budget = p.budget;
    const FfnBudgetSolution s = solve_ffn_budget(config, p.architecture);
    EXPECT_EQ(!s.infeasible.empty(), infeasible(p)) << name(p) << ": " << s.infeasible;
    ConfigProblems problems;
    validate(config, problems);
    EXPECT_EQ(!problems.empty(), infeasible(p)) << name(p);
    if (infeasible(p)) continue;
    const ModelConfig built = resolve(config);
    const double cost = layer_flops(built, 0, AttentionFlops::causal);
    EXPECT_NEAR(cost / p.budget, 1, 0.005) << name(p);
    EXPECT_DOUBLE_EQ(cost / p.budget - 1, s.error) << name(p);
    EXPECT_EQ((built.deep.ffn_hidden_size + built.wide.ffn_hidden_size) % 32, 0) << name(p);
    EXPECT_NEAR(s.deep_share, p.architecture == dual ? p.alpha : 0, 0.02) << name(p);
  }
}

// Every option, in every architecture: the formula and the declared parameters agree.
TEST(Counts, FormulaEqualsDeclaredParameters) {
  int checked = 0;
  for (Architecture a : {Architecture::standard, looped, wide, dual}) {
    for (std::int64_t kv_heads : {4, 2}) {
      for (QkNorm qk_norm : {QkNorm::after_rope, QkNorm::none}) {
        for (LoopCombine combine : {LoopCombine::mixture, LoopCombine::final}) {
          for (GateMode mode : {GateMode::two_sigmoid, GateMode::convex, GateMode::fixed}) {
            for (int flags = 0; flags < 8; ++flags) {
              ModelConfig config;
              config.architecture = {a};
              config.layers = 2;
              config.hidden_size = 32;
              config.kv_heads = kv_heads;
              config.vocab_size = 100;
              config.qk_norm = qk_norm;
              config.deep.combine = combine;
              config.gate.mode = mode;
              config.deep.iterations = 3;
              config.deep.ffn_hidden_size = 24;
              config.wide.ffn_hidden_size = 40;
              config.shared_attention = flags & 1;
              config.tied_embeddings = flags & 2;
              config.deep.iteration_norm = flags & 4;
              const ResolvedModelConfig resolved = resolve(config);
              ParameterStore store;
              const Stage stage(resolved, store, {.end = config.layers}, Cut::whole,
                                Recompute::none, 16);
              EXPECT_EQ(store.num_parameters(), model_parameters(resolved));
              ++checked;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(checked, 4 * 2 * 2 * 2 * 3 * 8);
}

}  // namespace
}  // namespace dualpath
