// What a sweep's report computes from its runs.
#include "launcher/sweep/sweep_results.h"

#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/train/metrics_writer.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;

const double nan = std::nan("");

StepMetrics step(std::int64_t number, double loss, std::vector<double> gate_deep = {}) {
  StepMetrics m;
  m.step = number;
  m.consumed_tokens = 100 * number;
  m.loss = loss;
  m.gate_deep = std::move(gate_deep);
  return m;
}

ValidationMetrics validation(std::int64_t number, double loss, std::optional<double> bits) {
  ValidationMetrics m;
  m.step = number;
  m.consumed_tokens = 100 * number;
  m.validation_loss = loss;
  m.bits_per_byte = bits;
  return m;
}

TEST(RunHistory, CurvesLastValuesAndMeansOfTheLastSteps) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  MetricsWriter writer(path, 0);
  for (int i = 1; i <= 30; ++i) {
    writer.write(step(i, i <= 10 ? 100 : i, {0.5, i / 100.0}));
    if (i % 15 == 0) writer.write(validation(i, 8 - i / 10.0, i / 20.0));
  }
  writer.write(SaveMetrics{.step = 30});
  std::ofstream(path, std::ios::app) << "{\"step\":31,\"tokens\":31";  // being written

  const RunHistory history = read_history(path);
  EXPECT_EQ(history.last_step, 30);
  EXPECT_THAT(history.training.tokens, SizeIs(30));
  EXPECT_THAT(history.training.values, SizeIs(30));
  EXPECT_EQ(history.training.tokens.back(), 3000);
  EXPECT_EQ(history.training.values.back(), 30);
  EXPECT_THAT(history.validation.tokens, ElementsAre(1500, 3000));
  EXPECT_THAT(history.validation.values, ElementsAre(6.5, 5));
  EXPECT_THAT(history.validation_loss, Optional(5.0));
  EXPECT_THAT(history.bits_per_byte, Optional(1.5));
  // Steps 11 to 30: whole numbers, of which 1/20 each is added up.
  const double rounding = 20 * 21 * std::numeric_limits<double>::epsilon();
  ASSERT_TRUE(history.training_loss);
  EXPECT_NEAR(*history.training_loss, 20.5, rounding);
  const std::vector<double>& gate_deep = history.layers[1];
  EXPECT_STREQ(readouts[1].name, "gate_deep");
  ASSERT_THAT(gate_deep, SizeIs(2));
  EXPECT_NEAR(gate_deep[0], 0.5, rounding);
  EXPECT_NEAR(gate_deep[1], 0.205, rounding);
  EXPECT_THAT(history.layers[0], IsEmpty());
}

TEST(RunHistory, WithoutStepsValidationOrFiniteLoss) {
  const TemporaryFolder folder;
  const RunHistory none = read_history(folder / "metrics.jsonl");
  EXPECT_EQ(none.last_step, 0);
  EXPECT_EQ(none.training_loss, std::nullopt);
  EXPECT_EQ(none.validation_loss, std::nullopt);

  MetricsWriter writer(folder / "metrics.jsonl", 0);
  writer.write(step(1, 3));
  writer.write(validation(1, 2, {}));
  EXPECT_THAT(read_history(folder / "metrics.jsonl").validation_loss, Optional(2.0));
  EXPECT_EQ(read_history(folder / "metrics.jsonl").bits_per_byte, std::nullopt);
  writer.write(step(2, nan));
  writer.write(validation(2, nan, nan));
  const RunHistory broken = read_history(folder / "metrics.jsonl");
  EXPECT_EQ(broken.last_step, 2);
  EXPECT_THAT(broken.training.values, ElementsAre(3));
  EXPECT_EQ(broken.training_loss, std::nullopt);
  EXPECT_THAT(broken.validation.values, ElementsAre(2));
  EXPECT_EQ(broken.validation_loss, std::nullopt);
  EXPECT_EQ(broken.bits_per_byte, std::nullopt);
}

TEST(Thinned, AveragesStretchesOfEqualRatio) {
  TokenCurve curve;
  for (int i = 1; i <= 1000; ++i) {
    curve.tokens.push_back(i);
    curve.values.push_back(2.0 * i);
  }
  const TokenCurve few = thinned(curve, 3);  // 1-9, 10-99, 100-1000, but for rounding at the edges
  ASSERT_THAT(few.tokens, SizeIs(3));
  EXPECT_NEAR(few.tokens[0], 5, 0.5);
  EXPECT_NEAR(few.tokens[1], 54.5, 0.5);
  EXPECT_NEAR(few.tokens[2], 550, 0.5);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_DOUBLE_EQ(few.values[i], 2 * few.tokens[i]);
  EXPECT_EQ(thinned(curve, 1000).tokens, curve.tokens);
}

struct Cell {
  SweepArchitecture architecture;
  std::int64_t iterations;
  double deep_share;
  std::int64_t millions;
};
constexpr Cell wide{SweepArchitecture::wide, 0, 0, 700};

// A run of a budget of `budget` FLOPs per token and layer that ended with this validation loss.
RunResult result(const Cell& cell, std::int64_t seed, std::optional<double> loss,
                 RunState state = RunState::finished, double budget = 8e7) {
  RunResult r;
  r.run.cell = {cell.architecture, cell.iterations, cell.deep_share, budget};
  r.run.seed = seed;
  r.run.learning_rate = 1e-3;
  r.run.parameters = cell.millions * 1'000'000;
  r.status.state = state;
  r.history.training_loss = 3;
  r.history.validation_loss = loss;
  return r;
}

TEST(SweepResults, SeedsArePutTogetherAndBudgetsApart) {
  const Cell dual{SweepArchitecture::dual_path, 4, 0.5, 480};
  const SweepResults results = compare_runs(
      {result(wide, 1, 2.0, RunState::finished, 16e7), result(wide, 1, 4.0), result(dual, 1, 3.5),
       result(wide, 2, 4.5), result(dual, 2, 1.0, RunState::running),
       result(dual, 3, nan, RunState::failed), result(dual, 4, {}), result(dual, 5, 3.75)},
      {});
  EXPECT_TRUE(results.has_validation);
  ASSERT_THAT(results.budgets, SizeIs(2));
  EXPECT_EQ(results.budgets[0].budget.layer_flops, 8e7);
  EXPECT_EQ(text_of(results.budgets[0].budget), "80M FLOPs per token and layer");
  ASSERT_THAT(results.budgets[0].groups, SizeIs(2));
  const auto& [wide_group, dual_group] =
      std::tie(results.budgets[0].groups[0], results.budgets[0].groups[1]);
  EXPECT_EQ(wide_group.name, "wide");
  EXPECT_EQ(dual_group.name, "dual_path, α 0.5, K 4");
  EXPECT_THAT(wide_group.runs, SizeIs(2));
  EXPECT_THAT(dual_group.runs, SizeIs(5));
  EXPECT_EQ(wide_group.validation_loss->mean, 4.25);
  EXPECT_DOUBLE_EQ(wide_group.validation_loss->deviation, std::sqrt(0.125));
  // Neither the running nor the failed one, and of the finished those that have a value.
  EXPECT_EQ(dual_group.validation_loss->count, 2u);
  EXPECT_EQ(dual_group.validation_loss->mean, 3.625);
  EXPECT_EQ(dual_group.training_loss->count, 3u);
  EXPECT_EQ(dual_group.bits_per_byte, std::nullopt);
  EXPECT_FALSE(wide_group.is_best);
  EXPECT_TRUE(dual_group.is_best);
  EXPECT_TRUE(results.budgets[1].groups[0].is_best);
}

TEST(SweepResults, TrainingLossWhereNobodyValidates) {
  std::vector<RunResult> runs{result(wide, 1, {}), result(wide, 2, 2.0, RunState::running)};
  const SweepResults results = compare_runs(std::move(runs), {});
  EXPECT_FALSE(results.has_validation);
  EXPECT_EQ(results.loss(results.budgets[0].groups[0])->mean, 3);
}

// At a budget of training FLOPs, layers of other sizes compete.
TEST(SweepResults, TrainingFlopsAreTheBudgetWhereTheyAreGiven) {
  std::vector<RunResult> runs{result(wide, 1, 2.0), result(wide, 1, 2.5, RunState::finished, 4e7)};
  for (RunResult& run : runs) run.run.training_flops = 1e18;
  runs.push_back(runs[0]);
  runs.back().run.learning_rate = 2e-3;
  const SweepResults results = compare_runs(std::move(runs), {});
  ASSERT_THAT(results.budgets, SizeIs(1));
  EXPECT_EQ(text_of(results.budgets[0].budget), "1e+18 FLOPs of training");
  std::vector<std::string> names;
  for (const SeedGroup& group : results.budgets[0].groups) names.push_back(group.name);
  EXPECT_THAT(names, ElementsAre("wide, F 80M, lr 0.001", "wide, F 40M, lr 0.001",
                                 "wide, F 80M, lr 0.002"));
}

TEST(IsoFlopCurves, OverKWhereNothingElseVariesElseOneForEachK) {
  constexpr auto looped = SweepArchitecture::looped, dual_path = SweepArchitecture::dual_path;
  std::vector<RunResult> runs;
  for (const Cell& cell : {Cell{looped, 4, 0, 100}, Cell{looped, 2, 0, 1000},
                           Cell{looped, 3, 0, 316}, Cell{dual_path, 2, 0.25, 600},
                           Cell{dual_path, 2, 0.5, 500}, Cell{dual_path, 4, 0.5, 400}, wide}) {
    const double x = std::log10(static_cast<double>(cell.millions) * 1e6) - 8.5;
    runs.push_back(result(cell, 1, 3 + 2 * x * x));
  }
  runs.push_back(result({dual_path, 4, 0.75, 300}, 1, 1.0, RunState::running));
  const SweepResults results = compare_runs(std::move(runs), {});
  const std::vector<IsoFlopCurve> curves = iso_flop_curves(results, results.budgets[0]);
  std::vector<std::string> names;
  for (const IsoFlopCurve& curve : curves) names.push_back(curve.name);
  EXPECT_THAT(names, ElementsAre("wide", "looped", "dual_path, K 2", "dual_path, K 4"));
  ASSERT_THAT(curves[1].points, SizeIs(3));
  EXPECT_EQ(curves[1].points[0]->any_run().cell.iterations, 4);
  EXPECT_EQ(curves[1].points[2]->any_run().cell.iterations, 2);
  ASSERT_TRUE(curves[1].fit.parabola);
  // Losses near 3 are exact to 4 epsilon; dividing by the curve's height of 1/4 and log10's
  // rounding near 9 amplify it by less than 100.
  const double rounding = 100 * 9 * std::numeric_limits<double>::epsilon();
  EXPECT_NEAR(curves[1].fit.parabola->minimum_x, 8.5, rounding);
  EXPECT_NEAR(curves[1].fit.parabola->minimum_y, 3, rounding);
  EXPECT_NEAR(curves[1].fit.parabola->curvature, 2, rounding);
  EXPECT_THAT(curves[0].fit.problem, HasSubstr("fewer than 3"));
  EXPECT_THAT(curves[2].points, SizeIs(2));
  EXPECT_THAT(curves[3].points, SizeIs(1));
}

// Of one α each, N follows from F alone; models of several α do not lie on one curve.
TEST(IsoFlopCurves, OneForEachKAndShareWhereLayersHaveSeveralSizes) {
  constexpr auto dual_path = SweepArchitecture::dual_path;
  std::vector<RunResult> runs;
  for (const double budget : {4e7, 8e7, 16e7}) {
    const auto scale = static_cast<std::int64_t>(budget / 4e7);
    for (const Cell& cell :
         {Cell{dual_path, 4, 0.75, 110}, Cell{dual_path, 4, 0.25, 100}, Cell{wide}}) {
      RunResult run = result(cell, 1, 3 + cell.deep_share, RunState::finished, budget);
      run.run.parameters *= scale;
      run.run.training_flops = 1e18;
      runs.push_back(run);
    }
  }
  const SweepResults results = compare_runs(std::move(runs), {});
  ASSERT_THAT(results.budgets, SizeIs(1));
  std::vector<std::string> names;
  for (const IsoFlopCurve& curve : iso_flop_curves(results, results.budgets[0])) {
    names.push_back(curve.name);
    ASSERT_THAT(curve.points, SizeIs(3));
    for (const SeedGroup* point : curve.points) {
      EXPECT_EQ(point->any_run().cell.deep_share, curve.points[0]->any_run().cell.deep_share);
    }
  }
  EXPECT_THAT(names, ElementsAre("wide", "dual_path, α 0.25, K 4", "dual_path, α 0.75, K 4"));
}

TEST(IsoFlopCurves, TheBestLearningRateStandsForAModel) {
  std::vector<RunResult> runs{result(wide, 1, 3.0), result(wide, 1, 2.0), result(wide, 1, 2.5)};
  for (std::size_t i = 0; i < runs.size(); ++i)
    runs[i].run.learning_rate = 1e-3 * static_cast<double>(i + 1);
  const SweepResults results = compare_runs(std::move(runs), {});
  const std::vector<IsoFlopCurve> curves = iso_flop_curves(results, results.budgets[0]);
  ASSERT_THAT(curves, SizeIs(1));
  ASSERT_THAT(curves[0].points, SizeIs(1));
  EXPECT_EQ(curves[0].points[0]->validation_loss->mean, 2);
}

}  // namespace
}  // namespace dualpath
