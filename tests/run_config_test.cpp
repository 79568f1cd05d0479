#include "launcher/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "core/error.h"
#include "launcher/parallel_layout.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The smallest text that makes a run.
constexpr const char* good_yaml =
    "model:\n"
    "  vocab_size: 512\n"
    "  deep: {ffn_hidden_size: 64}\n"
    "  wide: {ffn_hidden_size: 128}\n"
    "train: {steps: 10, global_batch_size: 8, micro_batch_size: 2}\n"
    "data: {mock: true}\n";

RunConfig read(const std::vector<std::string>& overrides = {}) {
  ConfigSource source;
  source.add_text(good_yaml, "run.yaml");
  for (const std::string& assignment : overrides) source.add_override(assignment);
  ConfigProblems problems;
  RunConfig config = read_config<RunConfig>(source, problems);
  throw_if_any(problems, source);
  return config;
}

// "key: message" of all that is wrong with the good text after the overrides.
std::vector<std::string> problems_of(const std::vector<std::string>& overrides,
                                     std::int64_t num_ranks = 1) {
  ConfigProblems problems;
  validate(read(overrides), num_ranks, problems);
  std::vector<std::string> result;
  for (const ConfigProblem& problem : problems.all()) {
    result.push_back(problem.field + ": " + problem.message);
  }
  return result;
}

TEST(RunConfig, AGoodOneHasNoProblems) {
  EXPECT_THAT(problems_of({}), IsEmpty());
  EXPECT_THAT(problems_of({}, 4), IsEmpty());
  EXPECT_THAT(problems_of({"parallel.data=2"}, 2), IsEmpty());
}

TEST(RunConfig, ReadsBackFromItsPrint) {
  const RunConfig config = read({"data.corpora=[{path: x, weight: 0.3}, {path: y}]",
                                 "model.architecture=[standard, dual_path, wide, looped]",
                                 "optimizer.lr=3e-4", "train.init_from=runs/a/checkpoints/step-1"});
  ConfigSource source;
  source.add_text(print_config(config), "config.yaml");
  ConfigProblems problems;
  const RunConfig again = read_config<RunConfig>(source, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_THAT(compare_configs(config, again), IsEmpty());
  EXPECT_EQ(print_config(again), print_config(config));
}

TEST(RunConfig, FolderFollowsTheName) {
  EXPECT_EQ(read().folder(), "runs/default");
  EXPECT_EQ(read({"run.name=a"}).folder(), "runs/a");
  EXPECT_EQ(read({"run.name=a", "run.folder=/x/y"}).folder(), "/x/y");
  EXPECT_THAT(problems_of({"run.name=../a"}),
              ElementsAre("run.name: \"../a\" is no name for a folder in runs/; run.folder takes "
                          "any path"));
  EXPECT_EQ(problems_of({"run.name="}).size(), 1u);
  EXPECT_EQ(problems_of({"run.name=.."}).size(), 1u);
}

TEST(RunConfig, WantsExactlyOneLength) {
  EXPECT_THAT(problems_of({"train.steps=0"}),
              ElementsAre("train.steps: how long? give one of train.steps, train.tokens, "
                          "train.flops"));
  EXPECT_THAT(problems_of({"train.flops=1e18"}),
              ElementsAre("train.steps: one length is wanted, given are train.steps = 10, "
                          "train.flops = 1e+18; set the others to 0"));
  EXPECT_THAT(problems_of({"train.steps=0", "train.tokens=1e6"}), IsEmpty());
  EXPECT_THAT(problems_of({"train.steps=0", "train.flops=1e18"}), IsEmpty());
}

TEST(RunConfig, BatchesDivideOverRanks) {
  EXPECT_THAT(problems_of({}, 3),
              ElementsAre("train.global_batch_size: 8 is no multiple of micro_batch_size 2 * 3 "
                          "ranks that read (tensor * data) = 6; the nearest are 6 and 12"));
  EXPECT_THAT(problems_of({}, 8),
              ElementsAre("train.global_batch_size: 8 is no multiple of micro_batch_size 2 * 8 "
                          "ranks that read (tensor * data) = 16; the nearest is 16"));
}

TEST(RunConfig, TheLayoutMakesTheRanks) {
  EXPECT_THAT(problems_of({"parallel.data=3"}, 4),
              ElementsAre("parallel.data: tensor 1 * pipeline 1 * data 3 makes 3 ranks, the job "
                          "has 4; data 4 fits"));
  RunConfig config = read();
  config.parallel.tensor = 2;
  EXPECT_EQ(resolve(config.parallel, 4, false).data, 2);
  ConfigProblems problems;
  validate(config, 3, problems);
  ASSERT_EQ(problems.all().size(), 1u);
  EXPECT_EQ(problems.all()[0].message, "tensor 2 * pipeline 1 does not divide the job's 3 ranks");
}

TEST(RunConfig, PipelinesMustFitLayersAndMicroBatches) {
  EXPECT_THAT(problems_of({"parallel.pipeline=2"}, 2), IsEmpty());
  EXPECT_THAT(problems_of({"parallel.pipeline=8"}, 8),
              ElementsAre("parallel.pipeline: 8 stages want at least 8 layers, the model has 4"));
  EXPECT_THAT(problems_of({"parallel.pipeline=2", "parallel.stage_layers=[1, 2]"}, 2),
              ElementsAre("parallel.stage_layers: the pieces have 3 layers together, the model 4"));
  EXPECT_THAT(problems_of({"parallel.pipeline=2", "parallel.virtual_pipeline=2"}, 2), IsEmpty());
  EXPECT_THAT(
      problems_of({"parallel.pipeline=2", "parallel.virtual_pipeline=2", "parallel.schedule=gpipe"},
                  2),
      ElementsAre(HasSubstr("parallel.schedule: the schedule gpipe has 1 chunk")));
}

TEST(RunConfig, NoRankIsWithoutHiddenUnits) {
  EXPECT_THAT(problems_of({"parallel.tensor=2"}, 2), IsEmpty());
  EXPECT_THAT(problems_of({"parallel.tensor=4", "model.wide.ffn_hidden_size=3"}, 4),
              ElementsAre("parallel.tensor: 4 ranks cannot share 3 hidden units of the wide FFN; 3 "
                          "are the most"));
}

TEST(RunConfig, WantsSomethingToTrainOn) {
  EXPECT_THAT(problems_of({"data.mock=false"}),
              ElementsAre("data.corpora: nothing to train on; give data.corpora=[{path: FOLDER}] "
                          "or data.mock=true"));
  EXPECT_THAT(problems_of({"data.mock=false", "data.corpora=[{path: x}]"}), IsEmpty());
  EXPECT_THAT(problems_of({"data.corpora=[{path: x, weight: 0}, {weight: 0}]"}),
              ElementsAre("data.corpora[0].weight: must be above 0; leave the corpus out",
                          "data.corpora[1].path: names no corpus folder",
                          "data.corpora[1].weight: must be above 0; leave the corpus out"));
  EXPECT_THAT(problems_of({"model.vocab_size=0"}),
              ElementsAre("model.vocab_size: data.mock has no tokenizer to take it from; give "
                          "one"));
  EXPECT_THAT(problems_of({"data.mock=false", "data.corpora=[{path: x}]",
                           "train.validation_every_steps=5"}),
              ElementsAre("data.validation: train.validation_every_steps wants held-out corpora"));
}

TEST(RunConfig, SectionsAreChecked) {
  EXPECT_THAT(problems_of({"model.attention_heads=3"}),
              ElementsAre(HasSubstr("model.attention_heads: ")));
  EXPECT_THAT(problems_of({"optimizer.betas=[0.9]"}), ElementsAre(HasSubstr("optimizer.betas: ")));
}

TEST(CheckResume, RefusesAnotherModelAndListsTheRest) {
  const RunConfig before = read();
  EXPECT_THAT(check_resume(before, before), IsEmpty());
  std::vector<std::string> keys;
  for (const ConfigChange& change : check_resume(
           before, read({"optimizer.lr=1e-3", "model.init_std=0.1", "model.deep.gain_init=0",
                         "model.wide.gain_init=0", "model.deep.router_bias_init=1",
                         "model.init_scheme=executed"}))) {
    keys.push_back(change.key);
  }
  EXPECT_THAT(keys,
              ElementsAre("model.init_std", "model.init_scheme", "model.deep.gain_init",
                          "model.deep.router_bias_init", "model.wide.gain_init", "optimizer.lr"));
  try {
    check_resume(before, read({"model.layers=5", "model.gate.mode=convex", "optimizer.lr=1"}));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    EXPECT_STREQ(error.what(),
                 "this run's checkpoint holds another model; give the same model or another "
                 "run.folder\n"
                 "model.layers: 4 in the checkpoint, 5 now\n"
                 "model.gate.mode: two_sigmoid in the checkpoint, convex now");
  }
}

TEST(RunConfig, EveryFieldHasHelp) {
  for (const ConfigField& field : list_fields(RunConfig(), true)) {
    EXPECT_STRNE(field.info.help, "") << field.key;
  }
  const std::string help = config_help<RunConfig>();
  EXPECT_THAT(help, HasSubstr("\n  model.deep.iterations "));
  EXPECT_THAT(help, HasSubstr("\n  data.corpora[].path "));
  EXPECT_THAT(help, Not(HasSubstr("\n\n\n")));
}

}  // namespace
}  // namespace dualpath
