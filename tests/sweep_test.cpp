#include <algorithm>
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/checkpoints/run_lock.h"
#include "data/files/file_io.h"
#include "launcher/sweep/sweep_folder.h"
#include "launcher/sweep/sweep_gpus.h"
#include "launcher/sweep/sweep_grid.h"
#include "model/counts.h"
#include "model/resolve_config.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* base_yaml =
    "sweep: {folder: nowhere, layer_flop_budgets: [4e6], training_flops: [1e12]}\n"
    "model: {layers: 2, hidden_size: 128, attention_heads: 2, sequence_length: 64, vocab_size: "
    "512,\n"
    "        budget_multiple: 8}\n"
    "train: {global_batch_size: 4}\n"
    "data: {mock: true}\n";

SweepConfig read(const std::vector<std::string>& overrides) {
  ConfigSource source;
  source.add_text(base_yaml, "sweep.yaml");
  for (const std::string& assignment : overrides) source.add_override(assignment);
  ConfigProblems problems;
  auto config = read_config<SweepConfig>(source, problems);
  throw_if_any(problems, source);
  return config;
}

SweepGrid grid_of(const std::vector<std::string>& overrides) {
  ConfigProblems problems;
  SweepGrid grid = expand_grid(read(overrides), problems);
  for (const ConfigProblem& p : problems.all()) ADD_FAILURE() << p.field << ": " << p.message;
  EXPECT_EQ(grid.plan.runs.size(), grid.configs.size());
  return grid;
}

std::vector<std::string> problems_of(const std::vector<std::string>& overrides) {
  ConfigProblems problems;
  expand_grid(read(overrides), problems);
  std::vector<std::string> texts;
  for (const ConfigProblem& p : problems.all()) texts.push_back(p.field + ": " + p.message);
  return texts;
}

std::vector<std::string> names_of(const SweepGrid& grid) {
  std::vector<std::string> names;
  for (const SweepRun& run : grid.plan.runs) names.push_back(run.name);
  return names;
}

TEST(SweepGrid, VariesKAndShareOnlyWhereTheArchitectureHasThem) {
  EXPECT_THAT(
      names_of(grid_of({"sweep.architectures=[standard, looped, dual_path, dual_single, expanded]",
                        "sweep.iterations=[2, 3]", "sweep.deep_shares=[0.5, 0.75]"})),
      ElementsAre(
          "standard-f4e6-c1e12-lr5e-4-s1", "looped-k2-f4e6-c1e12-lr5e-4-s1",
          "looped-k3-f4e6-c1e12-lr5e-4-s1", "dual_path-k2-a0.5-f4e6-c1e12-lr5e-4-s1",
          "dual_path-k2-a0.75-f4e6-c1e12-lr5e-4-s1", "dual_path-k3-a0.5-f4e6-c1e12-lr5e-4-s1",
          "dual_path-k3-a0.75-f4e6-c1e12-lr5e-4-s1", "dual_single-k1-a0.5-f4e6-c1e12-lr5e-4-s1",
          "dual_single-k1-a0.75-f4e6-c1e12-lr5e-4-s1", "expanded-k2-f4e6-c1e12-lr5e-4-s1",
          "expanded-k3-f4e6-c1e12-lr5e-4-s1"));
}

// Trial C3.
TEST(SweepGrid, RefusesMoreRunsThanCanBeChecked) {
  std::string seeds = "1";
  for (int seed = 2; seed <= 200; ++seed) seeds += "," + std::to_string(seed);
  EXPECT_THAT(
      problems_of({"sweep.seeds=[" + seeds + "]", "sweep.layer_flop_budgets=[" + seeds + "]"}),
      ElementsAre("sweep: its lists make up to 4e+04 runs; 10000 are the most"));
}

TEST(SweepGrid, HasEachModelOnceUnderOneName) {
  // With K = 1 dual_path is dual_single, expanded is wide, whichever is listed first.
  EXPECT_THAT(
      names_of(grid_of({"sweep.architectures=[wide, dual_path, dual_single, expanded, wide]",
                        "sweep.iterations=[1, 1]", "sweep.seeds=[7, 7]",
                        "sweep.training_flops=[1e12, 1e12]"})),
      ElementsAre("wide-f4e6-c1e12-lr5e-4-s7", "dual_single-k1-a0.5-f4e6-c1e12-lr5e-4-s7"));
  EXPECT_THAT(names_of(grid_of({"sweep.architectures=[expanded]", "sweep.iterations=[1]"})),
              ElementsAre("wide-f4e6-c1e12-lr5e-4-s1"));
}

TEST(SweepGrid, MeetsBothBudgets) {
  const SweepGrid grid =
      grid_of({"sweep.architectures=[standard, wide, looped, dual_path, dual_single, expanded]",
               "sweep.iterations=[1, 2, 4]", "sweep.training_flops=[1e12, 3e12]",
               "sweep.layer_flop_budgets=[4e6, 8e6]", "sweep.seeds=[1, 2]"});
  EXPECT_THAT(grid.plan.infeasible, IsEmpty());
  for (std::size_t i = 0; i < grid.configs.size(); ++i) {
    const SweepRun& run = grid.plan.runs[i];
    SCOPED_TRACE(run.name);
    // Layers that are not the model's 2 share the budget of 2.
    const ResolvedModelConfig model = resolve(grid.configs[i].model);
    double layers = 0;
    for (std::int64_t l = 0; l < model.layers; ++l)
      layers += layer_flops(model, l, AttentionFlops::causal);
    EXPECT_NEAR(layers / (2 * run.cell.layer_flop_budget), 1 + run.budget_error, 1e-12);
    EXPECT_LE(std::abs(run.budget_error), 0.005);
    // Rounded up to whole steps of 4 sequences.
    EXPECT_EQ(run.tokens, run.steps * 4 * 64);
    EXPECT_GE(run.realised_flops(), run.training_flops);
    EXPECT_LT(run.realised_flops() - run.training_flops, 4 * 64 * run.flops_per_token);
    EXPECT_EQ(run.parameters, model_parameters(model));
    EXPECT_EQ(grid.configs[i].folder(), "nowhere/runs/" + run.name);
  }
}

TEST(SweepGrid, ListsWhatIsInfeasibleOnceWithItsBound) {
  const SweepGrid grid =
      grid_of({"sweep.architectures=[wide, dual_path]", "sweep.iterations=[4, 32]",
               "sweep.seeds=[1, 2]", "sweep.learning_rates=[1e-3, 2e-3]"});
  EXPECT_THAT(grid.plan.runs, SizeIs(8));  // wide and K = 4
  ASSERT_THAT(grid.plan.infeasible, SizeIs(1));
  EXPECT_EQ(grid.plan.infeasible[0].cell, (SweepCell{SweepArchitecture::dual_path, 32, 0.5, 4e6}));
  EXPECT_THAT(grid.plan.infeasible[0].reason, HasSubstr("one attention alone takes"));
}

TEST(SweepGrid, TakesFromTheConfigurationWhatIsNotVaried) {
  const SweepGrid grid =
      grid_of({"sweep.layer_flop_budgets=[]", "sweep.training_flops=[]", "train.tokens=1000",
               "model.deep.ffn_hidden_size=32", "model.wide.ffn_hidden_size=64",
               "model.deep.iterations=3", "train.seed=5", "optimizer.lr=2e-3"});
  ASSERT_THAT(names_of(grid), ElementsAre("dual_path-k3-lr2e-3-s5"));
  const SweepRun& run = grid.plan.runs[0];
  EXPECT_EQ(run.steps, 4);
  EXPECT_EQ(run.deep_hidden, 32);
  EXPECT_EQ(run.wide_hidden, 64);
  EXPECT_EQ(run.budget_error, 0);
}

TEST(SweepGrid, TellsEachProblemOnceWithItsRuns) {
  EXPECT_THAT(problems_of({"sweep.seeds=[1, 2, 3]", "sweep.ranks=3"}),
              ElementsAre(AllOf(HasSubstr("train.global_batch_size: 4 is no multiple"),
                                HasSubstr("(run dual_path-k4-a0.5-f4e6-c1e12-lr5e-4-s1 and 2 "
                                          "others)"))));
  EXPECT_THAT(problems_of({"model.deep.ffn_hidden_size=8", "train.steps=4",
                           "model.architecture=[wide, looped]"}),
              ElementsAre(HasSubstr("sweep.architectures: give some"),
                          HasSubstr("sweep.layer_flop_budgets: FFN sizes follow from the budget"),
                          HasSubstr("sweep.training_flops: train.steps or train.tokens")));
  EXPECT_THAT(problems_of({"sweep.architectures=[expanded]", "sweep.layer_flop_budgets=[]",
                           "model.wide.ffn_hidden_size=8"}),
              ElementsAre(HasSubstr("sweep.architectures: expanded divides a budget")));
  EXPECT_THAT(problems_of({"sweep.deep_shares=[0.25, 0.5]", "sweep.layer_flop_budgets=[]",
                           "model.deep.ffn_hidden_size=8", "model.wide.ffn_hidden_size=8"}),
              ElementsAre(HasSubstr("sweep.deep_shares: they divide a budget")));
  EXPECT_THAT(problems_of({"sweep.deep_shares=[0, 0.5, 1]", "sweep.name=.."}),
              ElementsAre(HasSubstr("sweep.name: \"..\" is no name"),
                          HasSubstr("sweep.deep_shares: 0 leaves"),
                          HasSubstr("sweep.deep_shares: 1 leaves")));
}

TEST(SweepGrid, RefusesFlopsThatNoNumberOfStepsMakes) {
  EXPECT_THAT(problems_of({"sweep.training_flops=[1]"}),
              ElementsAre(HasSubstr("sweep.training_flops: 1 FLOPs are wanted, but")));
  EXPECT_THAT(
      problems_of({"sweep.training_flops=[1e300]"}),
      ElementsAre(AllOf(HasSubstr("train.flops: makes "), HasSubstr("1e+18 are the most"))));
}

class SweepFolder : public testing::Test {
 protected:
  std::string path() const { return folder_ / "sweep"; }
  std::filesystem::path run() const { return run_folder(path(), "wide-f4e6-c1e12-lr5e-4-s1"); }
  void adopt(std::vector<std::string> overrides) const {
    overrides.push_back("sweep.folder=" + path());
    const SweepGrid grid = grid_of(overrides);
    adopt_grid(path(), grid.plan, grid.configs);
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(SweepFolder, ReadsWhatWasWritten) {
  const auto overrides = std::vector<std::string>{"sweep.architectures=[dual_path, wide]",
                                                  "sweep.iterations=[4, 32]", "sweep.seeds=[1, 2]"};
  adopt(overrides);
  const SweepPlan planned = grid_of(overrides).plan;
  const SweepPlan read = read_sweep_plan(path());
  ASSERT_EQ(read.runs.size(), planned.runs.size());
  for (std::size_t i = 0; i < read.runs.size(); ++i) {
    const SweepRun& a = read.runs[i];
    const SweepRun& b = planned.runs[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.cell, b.cell);
    EXPECT_EQ(a.training_flops, b.training_flops);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.layers, b.layers);
    EXPECT_EQ(a.deep_hidden, b.deep_hidden);
    EXPECT_EQ(a.wide_hidden, b.wide_hidden);
    EXPECT_EQ(a.realised_deep_share, b.realised_deep_share);
    EXPECT_EQ(a.budget_error, b.budget_error);
    EXPECT_EQ(a.parameters, b.parameters);
    EXPECT_EQ(a.flops_per_token, b.flops_per_token);
    EXPECT_EQ(a.steps, b.steps);
    EXPECT_EQ(a.tokens, b.tokens);
    const RunConfig config = read_planned(run_folder(path(), a.name));
    EXPECT_EQ(config.train.seed, a.seed);
    EXPECT_EQ(config.folder(), run_folder(path(), a.name));
  }
  ASSERT_THAT(read.infeasible, SizeIs(1));
  EXPECT_EQ(read.infeasible[0].cell, planned.infeasible[0].cell);
  EXPECT_EQ(read.infeasible[0].reason, planned.infeasible[0].reason);
}

TEST_F(SweepFolder, NamesADamagedPlan) {
  adopt({});
  const std::string file = path() + "/sweep.json";
  for (const char* damage : {"{\"format\": 1, \"runs\": [", "{\"format\": 2}",
                             "{\"format\": 1, \"runs\": [{}], \"infeasible\": []}"}) {
    write_file(file, damage, ExitCode::checkpoint);
    EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { read_sweep_plan(path()); }), HasSubstr(file));
  }
}

TEST_F(SweepFolder, TakesMoreRunsAndRefusesAnotherSweep) {
  const std::string two = "sweep.architectures=[wide, looped]";
  adopt({two});
  adopt({two, "sweep.seeds=[3, 1]", "logging.every_steps=3", "train.threads=1"});
  EXPECT_THAT(read_sweep_plan(path()).runs, SizeIs(4));
  const auto refusal = [&](const std::vector<std::string>& overrides) {
    return error_of(ExitCode::configuration, [&] { adopt(overrides); });
  };
  EXPECT_THAT(refusal({two, "sweep.seeds=[1]"}),
              HasSubstr("its run wide-f4e6-c1e12-lr5e-4-s3 is none of this sweep"));
  EXPECT_THAT(refusal({two, "sweep.seeds=[3, 1]", "optimizer.weight_decay=0"}),
              HasSubstr("optimizer.weight_decay: 0.3 there, 0 now"));
  EXPECT_THAT(read_sweep_plan(path()).runs, SizeIs(4));
}

TEST_F(SweepFolder, TakesARunAgainWhoseFolderWasRemoved) {
  adopt({"sweep.architectures=[wide]"});
  write_file(run() / "DONE", "4 steps\n", ExitCode::checkpoint);
  std::filesystem::remove_all(run());
  adopt({"sweep.architectures=[wide]"});
  EXPECT_EQ(run_status(run()).state, RunState::planned);
  EXPECT_EQ(read_planned(run()).train.seed, 1);
}

TEST_F(SweepFolder, ComparesRunsWithoutAPlanToo) {
  adopt({"sweep.architectures=[wide]"});
  std::filesystem::remove(path() + "/sweep.json");
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { read_sweep_plan(path()); }),
              HasSubstr("no sweep is here"));
  EXPECT_THAT(error_of(ExitCode::configuration,
                       [&] {
                         adopt({"sweep.architectures=[wide]", "optimizer.weight_decay=0"});
                       }),
              HasSubstr("optimizer.weight_decay: 0.3 there, 0 now"));
  adopt({"sweep.architectures=[wide]"});
  EXPECT_THAT(read_sweep_plan(path()).runs, SizeIs(1));
}

TEST_F(SweepFolder, KnowsTheRefusalOfALockedRun) {
  const RunLock lock(run());
  EXPECT_TRUE(is_run_lock_refusal(
      "rank 0: " + error_of(ExitCode::checkpoint, [&] { const RunLock second(run()); })));
  EXPECT_FALSE(is_run_lock_refusal("run folder: cannot be locked: No locks available"));
}

TEST_F(SweepFolder, ReadsTheStateOfARunFromItsFolder) {
  adopt({"sweep.architectures=[wide]"});
  EXPECT_EQ(run_status(run()).state, RunState::planned);
  {
    const RunLock lock(run());
    EXPECT_EQ(run_status(run()).state, RunState::running);
  }
  EXPECT_EQ(run_status(run()).state, RunState::stopped);
  EXPECT_EQ(run_status(run()).reason, "interrupted");
  record_exit(run(), 5, "loss is not finite");
  EXPECT_EQ(run_status(run()).state, RunState::failed);
  EXPECT_EQ(run_status(run()).reason, "loss is not finite");
  EXPECT_EQ(run_status(run()).code, 5);
  record_exit(run(), 75, "");
  EXPECT_EQ(run_status(run()).state, RunState::stopped);
  for (const char* cut_short : {"", "\n", "0\n"}) {
    write_file(run() / "exit.txt", cut_short, ExitCode::checkpoint);
    EXPECT_EQ(run_status(run()).state, RunState::stopped);
    EXPECT_EQ(run_status(run()).reason, "interrupted");
  }
  forget_exit(run());
  EXPECT_EQ(run_status(run()).reason, "interrupted");
  record_exit(run(), 1, "an old failure");
  write_file(run() / "DONE", "4 steps\n", ExitCode::checkpoint);
  EXPECT_EQ(run_status(run()).state, RunState::finished);
}

TEST(SweepGpus, AreThoseThatThisProcessSees) {
  EXPECT_THAT(gpu_names(3, nullptr), ElementsAre("0", "1", "2"));
  EXPECT_THAT(gpu_names(2, "5,GPU-1a2b"), ElementsAre("5", "GPU-1a2b"));
  EXPECT_THAT(gpu_names(1, "3,-1,4"), ElementsAre("3")) << "CUDA stops at the first that is none";
  EXPECT_THAT(gpu_names(0, "0"), IsEmpty());
}

TEST(SweepGpus, RunsSideBySideHaveTheirOwn) {
  const std::vector<std::string> gpus = {"4", "5", "6", "7"};
  EXPECT_EQ(gpus_of_run(gpus, 0, 1), "4");
  EXPECT_EQ(gpus_of_run(gpus, 3, 1), "7");
  EXPECT_EQ(gpus_of_run(gpus, 4, 1), "4") << "more runs than GPUs were asked for";
  EXPECT_EQ(gpus_of_run(gpus, 0, 2), "4,5");
  EXPECT_EQ(gpus_of_run(gpus, 1, 2), "6,7");
  EXPECT_EQ(gpus_of_run(gpus, 1, 3), "7,4,5");
  EXPECT_EQ(gpus_of_run(gpus, 0, 8), "4,5,6,7");
}

}  // namespace
}  // namespace dualpath
