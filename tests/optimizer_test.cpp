// Learning-rate schedules, clipping and which parameters decay.
#include "model/optimizer.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

#include "model/lr_schedule.h"
#include "model/resolve_config.h"
#include "model/stage.h"

namespace dualpath {
namespace {

// The paper's: 5e-6 -> 5e-4 in 184 steps, cosine to 5e-5 at step 18,360.
OptimizerConfig paper() {
  OptimizerConfig c;
  c.lr = 5e-4;
  c.start_lr = 5e-6;
  c.min_lr = 5e-5;
  c.warmup_steps = 184;
  return c;
}

TEST(LearningRate, CosineOfThePaper) {
  const OptimizerConfig c = paper();
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 18360), 5e-6);
  EXPECT_DOUBLE_EQ(learning_rate(c, 92, 18360), (5e-6 + 5e-4) / 2);
  EXPECT_DOUBLE_EQ(learning_rate(c, 184, 18360), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(c, (184 + 18360) / 2, 18360), (5e-4 + 5e-5) / 2);
  EXPECT_DOUBLE_EQ(learning_rate(c, 18360, 18360), 5e-5);
}

TEST(LearningRate, OtherSchedules) {
  OptimizerConfig c = paper();
  c.warmup_steps = 10;
  c.schedule = LrSchedule::linear;
  EXPECT_DOUBLE_EQ(learning_rate(c, 60, 110), (5e-4 + 5e-5) / 2);
  c.schedule = LrSchedule::constant;
  EXPECT_DOUBLE_EQ(learning_rate(c, 110, 110), 5e-4);
  c.schedule = LrSchedule::wsd;
  c.decay_fraction = 0.25;
  EXPECT_DOUBLE_EQ(learning_rate(c, 75, 100), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(c, 100, 100), 5e-5);
  EXPECT_LT(learning_rate(c, 76, 100), 5e-4);
  c.schedule = LrSchedule::cosine;
  EXPECT_DOUBLE_EQ(learning_rate(c, 3, 3), 5e-6 + (5e-4 - 5e-6) * 0.3);  // ends in the warm-up
}

// It jumped to min_lr.
TEST(LearningRate, AWarmUpAsLongAsTheRunEndsAtThePeak) {
  OptimizerConfig c = paper();
  c.warmup_steps = 10;
  for (const LrSchedule schedule :
       {LrSchedule::cosine, LrSchedule::linear, LrSchedule::wsd, LrSchedule::constant}) {
    c.schedule = schedule;
    EXPECT_DOUBLE_EQ(learning_rate(c, 10, 10), 5e-4);
  }
}

TEST(Clipping, ScalesOnlyLargeGradients) {
  EXPECT_EQ(clip_scale(0.5, 1), 1);
  EXPECT_EQ(clip_scale(4, 1), 0.25);
  EXPECT_EQ(clip_scale(4, 0), 1);
}

// q, k, v, o, gate, up, down, the untied head, router w and W_g; nothing else.
TEST(WeightDecay, OnTheMatricesOfTheRecipe) {
  ModelConfig config;
  config.architecture = {Architecture::standard, Architecture::dual_path};
  config.layers = 2;
  config.vocab_size = 128;
  config.deep.ffn_hidden_size = config.wide.ffn_hidden_size = 8;
  ParameterStore store;
  const Stage stage(resolve(config), store, {.end = 2}, Cut::whole, Recompute::none, 16);
  store.seal();
  const std::set<std::string> matrices = {"query", "key", "value", "output", "gate", "up", "down"};
  for (const ParameterSpec& spec : store.specs()) {
    const std::string last = spec.name.substr(spec.name.rfind('.') + 1);
    const bool expected = matrices.contains(last) || spec.name == "head" ||
                          spec.name == "layers.1.router.weight" ||
                          spec.name == "layers.1.gates.weight";
    EXPECT_EQ(spec.decay, expected) << spec.name;
  }
  std::int64_t covered = 0;
  for (const ParameterRegion& region : store.regions()) {
    EXPECT_EQ(region.all.begin, covered);
    for (const ParameterRange& range : store.ranges(region.all)) {
      EXPECT_EQ(range.interval.begin, covered);
      covered = range.interval.end;
    }
    EXPECT_EQ(covered, region.all.end);
  }
  EXPECT_EQ(covered, store.flat_size());
}

}  // namespace
}  // namespace dualpath
