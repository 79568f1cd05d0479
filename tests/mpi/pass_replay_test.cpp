// What is replayed is what would have been issued, in every layout; and when.
#include "launcher/train/pass_replay.h"

#include <algorithm>
#include <gmock/gmock.h>

#include "tests/expect_error.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/replay_checker.h"

namespace dualpath {
namespace {

using testing::HasSubstr;

std::vector<ParallelConfig> layouts() {
  std::vector<ParallelConfig> all;
  for (ParallelConfig layout : layouts_of(world().size())) {
    if (layout.tensor > 1) continue;
    for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
      layout.recompute = recompute;
      all.push_back(layout);
    }
  }
  return all;
}

// Four steps, with a validation after the first and the third.
void train(const ParallelConfig& layout, bool tied, ReplayChecker& checker) {
  TrainerOptions options = grid_options(Architecture::dual_path, fp32, layout);
  options.model.tied_embeddings = tied;
  GridRig rig(options, world(), std::make_unique<ReplayCheckingDevice>(checker));
  rig.train(1);
  rig.trainer.validate(rig.source, 2, {});
  rig.go_on(2);
  rig.trainer.validate(rig.source, 3, {});
  rig.go_on(1);
}

TEST(PassReplay, IssuesWhatWasRecordedInEveryLayout) {
  for (const ParallelConfig& layout : layouts()) {
    for (const bool tied : {false, true}) {
      SCOPED_TRACE(describe(layout) + (tied ? " tied" : ""));
      ReplayChecker checker;
      train(layout, tied, checker);
      EXPECT_EQ(checker.wrong, 0);
      const bool all_talk = layout.pipeline == 1 && world().size() == 4;  // of 2 micro-batches
      EXPECT_EQ(checker.records > 0, !all_talk);
      EXPECT_GE(checker.replays, 3 * checker.records);
    }
  }
}

// Were passes told apart by their kernels only, not by slot and message buffers: of which one stage
// has one each.
TEST(PassReplay, ACoarserKeyWouldShow) {
  for (const ParallelConfig& layout : layouts()) {
    SCOPED_TRACE(describe(layout));
    std::map<KernelCalls, std::size_t> names;
    ReplayChecker checker;
    checker.rename = [&](std::size_t number, const KernelCalls& kernels) {
      return names.emplace(kernels, number).first->second;
    };
    train(layout, false, checker);
    const std::vector<std::string> wrong = world().all_gather(checker.wrong > 0 ? "wrong" : "");
    EXPECT_EQ(std::ranges::count(wrong, "wrong") > 0, layout.pipeline > 1);
  }
}

TEST(PassReplay, MemoryThatIsAllocatedHasTheNextStepRecord) {
  const auto self = make_self_communicator();
  ReplayChecker checker;
  GridRig rig(grid_options(Architecture::standard, fp32, {}), *self,
              std::make_unique<ReplayCheckingDevice>(checker));
  rig.train(1);
  EXPECT_EQ(checker.records, 0);
  rig.go_on(2);
  EXPECT_EQ(checker.records, 2);
  EXPECT_EQ(checker.replays, 2 * 2 * grid_batch);
  const Buffer moved = rig.device->allocate(1);
  rig.go_on(2);
  EXPECT_EQ(checker.records, 4);
  EXPECT_EQ(checker.replays, 4 * 2 * grid_batch);
}

// Four steps, in which a rank may refuse to record this call; the weights, too.
struct Refused {
  ReplayChecker checker;
  std::string graphs;
  History history;
  GlobalTensors state;
};
void train_refusing(const ParallelConfig& layout, CudaGraphs graphs, int call, Refused& run) {
  run.checker.refused_call = call;
  TrainerOptions options = grid_options(Architecture::dual_path, fp32, layout);
  options.cuda_graphs = graphs;
  GridRig rig(options, world(), std::make_unique<ReplayCheckingDevice>(run.checker));
  run.history = rig.train(4);
  run.graphs = rig.trainer.describe_graphs();
  run.state = assemble(rig.trainer.state_to_save(), world());
}

// Rank 0's are refused, in the middle (refused_capture_test has other places); the other ranks
// replay.
TEST(PassReplay, ARankThatCannotRecordDoesTheSame) {
  for (const ParallelConfig& layout : layouts()) {
    SCOPED_TRACE(describe(layout));
    Refused by_kernels, by_graphs;
    train_refusing(layout, CudaGraphs::off, -1, by_kernels);
    train_refusing(layout, CudaGraphs::automatic, -1, by_graphs);
    const int calls = by_graphs.checker.calls_recorded;
    Refused refused;
    train_refusing(layout, CudaGraphs::automatic, world().rank() == 0 ? calls / 2 : -1, refused);
    EXPECT_EQ(refused.history.losses, by_kernels.history.losses);
    EXPECT_EQ(refused.history.norms, by_kernels.history.norms);
    EXPECT_EQ(refused.history.readouts, by_kernels.history.readouts);
    EXPECT_EQ(refused.state, by_kernels.state);
    if (world().rank() > 0 || calls == 0) {
      EXPECT_EQ(refused.checker.replays, by_graphs.checker.replays);
    } else {
      EXPECT_EQ(refused.checker.replays, 0);
      EXPECT_THAT(refused.graphs, HasSubstr("could not be recorded: a test refuses "));
    }
  }
}

TEST(PassReplay, NothingIsRecordedWhereItIsOff) {
  ReplayChecker checker;
  TrainerOptions options = grid_options(Architecture::standard, fp32, {});
  options.cuda_graphs = CudaGraphs::off;
  GridRig rig(options, world(), std::make_unique<ReplayCheckingDevice>(checker));
  rig.train(3);
  EXPECT_EQ(checker.records, 0);
  EXPECT_EQ(rig.trainer.describe_graphs(), "no CUDA graphs: train.cuda_graphs = off");
}

TEST(PassReplay, WhatCannotBeIsRefused) {
  const auto self = make_self_communicator();
  TrainerOptions options = grid_options(Architecture::standard, fp32, {});
  EXPECT_THAT(GridRig(options, *self).trainer.describe_graphs(), HasSubstr("cpu"));
  options.cuda_graphs = CudaGraphs::on;
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { GridRig(options, *self); }),
              HasSubstr("train.cuda_graphs = on, but no pass can be a graph: cpu"));
}

ParallelConfig ranks(int tensor, int pipeline, int data) {
  ParallelConfig parallel;
  parallel.tensor = tensor;
  parallel.pipeline = pipeline;
  parallel.data = data;
  return parallel;
}

TEST(OwnMicroBatches, AreThoseThatDoNotTalk) {
  const auto range = [](const ParallelConfig& parallel, bool tied, std::int64_t count) {
    const OwnMicroBatches own = own_micro_batches(parallel, tied, count);
    EXPECT_EQ(own.obstacle.empty(), own.begin < own.end);
    return std::pair(own.begin, own.end);
  };
  using Range = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(range(ranks(1, 1, 1), true, 1), Range(0, 1));
  EXPECT_EQ(range(ranks(1, 4, 1), false, 8), Range(0, 8));
  EXPECT_EQ(range(ranks(1, 4, 1), true, 8), Range(1, 7));
  EXPECT_EQ(range(ranks(1, 1, 2), false, 3), Range(1, 2));
  EXPECT_EQ(range(ranks(1, 1, 2), false, 2), Range(0, 0));
  EXPECT_EQ(range(ranks(2, 1, 1), false, 8), Range(0, 0));
}

}  // namespace
}  // namespace dualpath
