// The size of a micro-batch that a configuration leaves open.
#include "launcher/config/micro_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/config/parallel_layout.h"
#include "model/resolve_config.h"

namespace dualpath {
namespace {

class OpenMicroBatch : public testing::Test {
 protected:
  OpenMicroBatch() {
    ModelConfig& model = config_.model;
    model.layers = 4;
    model.hidden_size = 64;
    model.attention_heads = 4;
    model.sequence_length = 128;
    model.deep.ffn_hidden_size = 64;
    model.wide.ffn_hidden_size = 128;
    config_.train.steps = 1;
    config_.train.global_batch_size = 64;
  }
  std::int64_t chosen(int num_ranks, Processor processor = Processor::cpu) const {
    RunConfig resolved = config_;
    resolved.parallel = resolve(config_.parallel, num_ranks);
    return choose_micro_batch(resolved, processor);
  }
  RunConfig config_;
};

TEST_F(OpenMicroBatch, HasAsManyTokensAsKeepTheProcessorBusy) {
  EXPECT_EQ(chosen(1), 16) << "2,048 tokens";
  EXPECT_EQ(chosen(1, Processor::gpu), 64) << "all";
  EXPECT_EQ(chosen(1, Processor::unknown), 16);
  config_.train.device = DeviceChoice::cuda;
  EXPECT_EQ(chosen(1, Processor::unknown), 64);
  EXPECT_EQ(chosen(1), 16) << "what computes counts, not what was asked for";
  config_.model.sequence_length = 4096;
  EXPECT_EQ(chosen(1), 1);
  EXPECT_EQ(chosen(1, Processor::gpu), 4);
}

TEST_F(OpenMicroBatch, DividesWhatARankReads) {
  config_.train.global_batch_size = 30;
  EXPECT_EQ(chosen(1), 15);
  EXPECT_EQ(chosen(2), 15);
  EXPECT_EQ(chosen(5), 6);
  config_.train.micro_batch_size = 2;
  EXPECT_EQ(chosen(5), 2) << "given";
}

TEST_F(OpenMicroBatch, LeavesAPipelineItsMicroBatches) {
  config_.parallel.pipeline = 4;
  EXPECT_EQ(chosen(4), 4) << "16 micro-batches for 4 stages";
  config_.train.global_batch_size = 8;
  EXPECT_EQ(chosen(4), 1) << "as many as there are";
  config_.parallel.pipeline = 2;
  config_.parallel.virtual_pipeline = 2;
  config_.train.global_batch_size = 20;
  EXPECT_EQ(chosen(2), 2) << "10 micro-batches in groups of 2";
}

TEST_F(OpenMicroBatch, KeepsActivationsSmall) {
  config_.model.hidden_size = 4096;
  config_.model.sequence_length = 64;
  const std::int64_t kept = chosen(1);
  EXPECT_GT(kept, 1);
  EXPECT_LT(kept, 32);
  config_.parallel.recompute = Recompute::layer;
  EXPECT_GT(chosen(1), kept);
}

TEST_F(OpenMicroBatch, IsTheDefaultAndPrintedAsAuto) {
  EXPECT_EQ(RunConfig().train.micro_batch_size, 0);
  EXPECT_THAT(print_config(config_), testing::HasSubstr("micro_batch_size: auto\n"));
  for (const auto& [given, problem] :
       {std::pair{"auto", ""}, std::pair{"2", ""}, std::pair{"0", "must be at least 1, found 0"},
        std::pair{"automatic", "wants an integer or auto, found automatic"}}) {
    ConfigSource source;
    source.add_override(std::string("train.micro_batch_size=") + given);
    ConfigProblems problems;
    const auto config = read_config<RunConfig>(source, problems);
    EXPECT_EQ(problems.empty() ? "" : problems.all()[0].message, problem);
    EXPECT_EQ(config.train.micro_batch_size, std::string(given) == "2" ? 2 : 0);
  }
}

}  // namespace
}  // namespace dualpath
