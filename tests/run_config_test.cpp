#include "launcher/config/run_config.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "launcher/bench/bench_config.h"
#include "launcher/config/config_warnings.h"
#include "launcher/config/corpus_paths.h"
#include "launcher/config/parallel_layout.h"
#include "launcher/evaluate/sampling.h"
#include "launcher/job/job.h"
#include "launcher/plan/machine.h"
#include "launcher/plan/memory_check.h"
#include "launcher/plan/plan_config.h"
#include "launcher/sweep/sweep_config.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::AllOf;
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

TEST(RunConfig, InitChangesNameFieldsOfTheModel) {
  EXPECT_THAT(problems_of({"train.init_changes=[model.rope_theta, model.deep.combine]"}),
              IsEmpty());
  EXPECT_THAT(problems_of({"train.init_changes=model.rope_thet"}),
              ElementsAre("train.init_changes: model.rope_thet is no field of the model, did you "
                          "mean model.rope_theta?"));
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
  EXPECT_EQ(resolve(config.parallel, 4).data, 2);
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

// What the reader says of overrides; "" if nothing.
std::string refusal_of(const std::vector<std::string>& overrides) {
  try {
    read(overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what();
  }
  return "";
}

// Trials C1, C3.
template <class Config>
void expect_bounds() {
  for (const ConfigField& field : list_fields(Config(), true)) {
    if (!field.is_number) continue;
    EXPECT_TRUE(std::isfinite(field.info.min)) << field.key;
    EXPECT_TRUE(std::isfinite(field.info.max)) << field.key;
  }
}

TEST(RunConfig, EveryNumberHasBounds) {
  expect_bounds<PlanConfig>();
  expect_bounds<BenchConfig>();
  expect_bounds<SweepConfig>();  // with submit
  expect_bounds<SamplingConfig>();
  expect_bounds<Machine>();
}

TEST(RunConfig, NumbersBeyondReasonAreRefused) {
  for (const std::string nonsense : {"train.threads=100000",
                                     "model.layers=1e9",
                                     "model.hidden_size=1e9",
                                     "model.vocab_size=1e12",
                                     "model.sequence_length=1e12",
                                     "model.deep.ffn_hidden_size=1e9",
                                     "data.prefetch_batches=1e12",
                                     "train.loss_chunk_tokens=1e12",
                                     "train.micro_batch_size=1e12",
                                     "train.steps=9.2e18",
                                     "train.flops=1e300",
                                     "parallel.virtual_pipeline=1e6",
                                     "logging.every_steps=1e18",
                                     "fault.timeout_seconds=1e300",
                                     "checkpoint.every_minutes=1e300",
                                     "optimizer.eps=1e-60",
                                     "optimizer.eps=0",
                                     "optimizer.warmup_steps=9.2e18",
                                     "optimizer.betas=[0.9, -1]",
                                     "optimizer.clip_grad=-1",
                                     "optimizer.weight_decay=1e300",
                                     "model.norm_epsilon=0",
                                     "model.init_std=0",
                                     "model.deep.gain_init=1e30",
                                     "model.rope_theta=0",
                                     "train.regularizers.ponder=1e300",
                                     "profile.ranks=[1e12]"}) {
    EXPECT_THAT(refusal_of({nonsense}), HasSubstr("must ")) << nonsense;
  }
}

// Each of them possible, together not.
TEST(RunConfig, SizesThatNoMachineHoldsAreRefused) {
  const std::vector<std::string> large{"model.hidden_size=1048576",
                                       "model.sequence_length=16777216"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = large;
    all.insert(all.end(), more.begin(), more.end());
    return problems_of(all);
  };
  EXPECT_THAT(
      with({"model.layers=1024", "model.wide.ffn_hidden_size=4194304"}),
      ElementsAre(HasSubstr("model: weights, gradients and moments would take up to 360 PB of"),
                  HasSubstr("train.micro_batch_size: the activations of a micro-batch")));
  EXPECT_THAT(with({"train.micro_batch_size=16777216", "train.global_batch_size=16777216",
                    "data.prefetch_batches=1024"}),
              ElementsAre(HasSubstr("train.micro_batch_size: "),
                          HasSubstr("data.prefetch_batches: batches read ahead would take up to")));
}

TEST(RunConfig, TooLargeAModelIsRefusedWithAdvice) {
  const RunConfig config = read({"model.hidden_size=4096", "model.layers=8"});
  constexpr std::int64_t gigabyte = 1000000000;
  EXPECT_EQ(memory_problem(config, 1, {}, 1000 * gigabyte), "");
  EXPECT_THAT(memory_problem(config, 1, {}, gigabyte),
              AllOf(HasSubstr("a rank takes "), HasSubstr(" GB of memory (weights "),
                    HasSubstr("; this host has 1 GB. What helps: a smaller model; more ranks"),
                    HasSubstr("`dualpath plan`")));
  EXPECT_THAT(memory_problem(config, 2, {0, 2}, gigabyte), HasSubstr(", 2 ranks "));
  EXPECT_THAT(memory_problem(read({"model.sequence_length=65536"}), 1, {}, gigabyte),
              HasSubstr("What helps: a smaller train.micro_batch_size; "
                        "parallel.recompute=iteration or layer; train.precision=bf16"));
}

TEST(RunConfig, NonsenseTogetherIsRefused) {
  EXPECT_THAT(problems_of({"optimizer.start_lr=1"}),
              ElementsAre("optimizer.start_lr: 1 is above the peak rate optimizer.lr = 0.0005"));
  EXPECT_THAT(problems_of({"optimizer.min_lr=1"}),
              ElementsAre("optimizer.min_lr: 1 is above the peak rate optimizer.lr = 0.0005"));
  EXPECT_THAT(problems_of({"optimizer.schedule=wsd", "optimizer.decay_fraction=0"}),
              ElementsAre(HasSubstr("optimizer.decay_fraction: 0 leaves no step")));
  EXPECT_THAT(problems_of({"optimizer.betas=[0.9, 1]"}), ElementsAre(HasSubstr("below 1")));
}

TEST(RunConfig, AWarmUpAsLongAsTheRunIsToldOf) {
  EXPECT_THAT(config_warnings(read({"optimizer.warmup_steps=9"})), IsEmpty());
  EXPECT_THAT(
      config_warnings(read({"optimizer.warmup_steps=10"})),
      ElementsAre(HasSubstr("optimizer.warmup_steps (10) is not below the run's 10 steps")));
  // 8 * 256 tokens a step.
  EXPECT_THAT(
      config_warnings(read({"train.steps=0", "train.tokens=20480"})),
      ElementsAre(HasSubstr("optimizer.warmup_steps (100) is not below the run's 10 steps")));
  EXPECT_THAT(config_warnings(read({"train.steps=0", "train.flops=1e18"})), IsEmpty());
}

TEST(RunConfig, OtherToolsNamesSuggestOurs) {
  const std::pair<std::string, std::string> names[] = {
      {"learning_rate", "optimizer.lr"},
      {"train.learning_rate", "optimizer.lr"},
      {"model.d_model", "model.hidden_size"},
      {"n_embd", "model.hidden_size"},
      {"n_layer", "model.layers"},
      {"model.num_hidden_layers", "model.layers"},
      {"model.n_head", "model.attention_heads"},
      {"model.num_heads", "model.attention_heads"},
      {"num_attention_heads", "model.attention_heads"},
      {"model.num_key_value_heads", "model.kv_heads"},
      {"block_size", "model.sequence_length"},
      {"seq-length", "model.sequence_length"},
      {"model.max_position_embeddings", "model.sequence_length"},
      {"batch_size", "train.global_batch_size or train.micro_batch_size"},
      {"train.micro-batch-size", "train.micro_batch_size"},
      {"global-batch-size", "train.global_batch_size"},
      {"model.intermediate_size", "model.deep.ffn_hidden_size or model.wide.ffn_hidden_size"},
      {"train.max_iters", "train.steps"},
      {"train.max_steps", "train.steps"},
      {"weight_decay", "optimizer.weight_decay"},
      {"warmup_iters", "optimizer.warmup_steps"},
      {"lr_decay_style", "optimizer.schedule"},
      {"save_interval", "checkpoint.every_steps"},
      {"eval_interval", "train.validation_every_steps"},
      {"tensor_model_parallel_size", "parallel.tensor"},
      {"pipeline-model-parallel-size", "parallel.pipeline"},
      {"dtype", "train.precision"},
      {"bf16", "train.precision"},
      {"max_grad_norm", "optimizer.clip_grad"},
      {"out_dir", "run.folder"},
  };
  for (const auto& [given, ours] : names) {
    EXPECT_THAT(refusal_of({given + "=1"}),
                HasSubstr(": " + given + ": unknown key, did you mean " + ours + "?"));
  }
}

TEST(RunConfig, FfnSizesThatAreMissingAreProposed) {
  const std::string none = "model.deep.ffn_hidden_size=0",
                    and_none = "model.wide.ffn_hidden_size=0";
  EXPECT_THAT(
      problems_of({none, and_none}),
      ElementsAre("model: FFN sizes need exactly one of ffn_hidden_size, d_ffn and "
                  "layer_flop_budget; none is given. For hidden_size 256, "
                  "model.deep.ffn_hidden_size=512 model.wide.ffn_hidden_size=1344 would do"));
  EXPECT_THAT(problems_of({none, and_none, "model.architecture=standard"}),
              ElementsAre(HasSubstr("256, model.wide.ffn_hidden_size=704 would do")));
  EXPECT_THAT(problems_of({none}),
              ElementsAre(HasSubstr("model.deep.ffn_hidden_size: the deep path needs a size; "
                                    "model.deep.ffn_hidden_size=512")));
  EXPECT_THAT(
      problems_of({"model.layer_flop_budget=1e8"}),
      ElementsAre(HasSubstr("layer_flop_budget; model.deep.ffn_hidden_size = 64, "
                            "model.wide.ffn_hidden_size = 128, model.layer_flop_budget = ")));
}

// Trial C1: OpenMP's lists are taken, nonsense is refused.
TEST(Job, ThreadsOfTheEnvironmentAreBounded) {
  const char* before = std::getenv("OMP_NUM_THREADS");
  const std::string kept = before == nullptr ? "" : before;
  for (const char* nonsense : {"0", "-3", "abc", "100000", "1e3", "2x", " "}) {
    setenv("OMP_NUM_THREADS", nonsense, 1);
    EXPECT_THAT(error_of(ExitCode::configuration, [] { Job::num_threads(0, 1); }),
                HasSubstr("OMP_NUM_THREADS is"));
    EXPECT_EQ(Job::num_threads(3, 1), 3);
  }
  setenv("OMP_NUM_THREADS", "4,2", 1);
  EXPECT_EQ(Job::num_threads(0, 1), 4);
  setenv("OMP_NUM_THREADS", kept.c_str(), 1);
}

TEST(CorpusPaths, AMissingOneIsLookedForAroundTheConfiguration) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder / "project/corpus/train");
  std::filesystem::create_directories(folder / "project/configs");
  const std::string file = folder / "project/configs/run.yaml";
  std::ofstream(file) << "data: {corpora: [{path: corpus/train}]}\n";
  ConfigSource source;
  source.add_file(file);
  ConfigProblems problems;
  auto config = read_config<RunConfig>(source, problems);
  const auto check = [&] { check_corpora_are_here(config, source); };
  EXPECT_THAT(
      error_of(ExitCode::data, check),
      AllOf(HasSubstr("run.yaml:1: data.corpora[0].path: corpus/train is missing: looked for " +
                      std::filesystem::absolute("corpus/train").string()),
            HasSubstr("start in " + (folder / "project") + ", or give that path")));
  config.data.corpora[0].path = folder / "project/corpus/train";
  check();
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
