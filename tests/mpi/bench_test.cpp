// Benchmarks whose ranks have to agree how often to measure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

#include "core/cpu/cpu_device.h"
#include "launcher/bench/job_bench.h"
#include "launcher/bench/machine_description.h"
#include "launcher/bench/step_bench.h"
#include "model/resolve_config.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

ResolvedBenchConfig tiny_config() {
  BenchConfig config;
  config.bench.repeats = 2;
  config.bench.seconds = 0.05;
  config.bench.kernel_seconds = 0;
  ModelConfig& model = config.run.model;
  model.layers = 1;
  model.hidden_size = 16;
  model.attention_heads = 2;
  model.sequence_length = 16;
  model.vocab_size = 32;
  model.deep.ffn_hidden_size = 16;
  model.wide.ffn_hidden_size = 16;
  config.run.train.global_batch_size = 2 * world().size();
  config.run.train.micro_batch_size = 1;
  return {"", config.bench, resolve(config.run, world().size(), Processor::cpu)};
}

const MachinePeaks peaks{.fp32 = 1e9, .bf16 = {}, .memory = 1e9};

// Clocks differ between ranks: one would go on where another has stopped, and hang.
TEST(RepeatTogether, AllRanksRepeatAsOftenAsRankZero) {
  std::int64_t done = 0;
  repeat_together({.repeats = 3, .seconds = 0.01 * world().rank()}, world(), [&] { ++done; });
  EXPECT_EQ(done, 3);
  if (world().rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  done = 0;
  repeat_together({.repeats = 1, .seconds = 0.02}, world(), [&] { ++done; });
  for (const std::string& others : world().all_gather(std::to_string(done)))
    EXPECT_EQ(others, std::to_string(done));
}

TEST(StepBench, AStepOfSeveralRanks) {
  const auto device = make_cpu_device(1);
  const ResolvedBenchConfig config = tiny_config();
  const MockTokens source(1, 32, 16);
  Log log("", false);
  const StepBench bench = measure_step(config, source, peaks, *device, world(), log);
  EXPECT_FALSE(bench.kernels.empty());
  EXPECT_GT(bench.step.table().json()[0].at("value"), 0);
}

TEST(JobBench, SumsAndCheckpoints) {
  const auto device = make_cpu_device(1);
  const ResolvedBenchConfig config = tiny_config();
  const Json sums = measure_collectives(config, peaks, *device, world()).table().json();
  std::vector<std::string> largest;
  for (std::size_t i = sums.size() - 4; i < sums.size(); ++i) {
    largest.push_back(sums[i].at("what"));
    EXPECT_GT(sums[i].at("value"), 0) << largest.back();
  }
  EXPECT_THAT(largest, testing::ElementsAre("all_reduce, the model's gradients",
                                            "all_gather, the model's gradients",
                                            "reduce_scatter, the model's gradients",
                                            "exchange, the model's gradients"));
  const std::string folder = testing::TempDir();
  const Json saved = measure_checkpoint(config, folder, peaks, *device, world()).table().json();
  EXPECT_EQ(saved.size(), 2U);
}

// Every collective that training uses has its own rate.
TEST(MachineDescription, LinksAmongRanks) {
  const auto device = make_cpu_device(1);
  const Effort effort{.repeats = 2, .seconds = 0};
  const std::vector<LinkRate> links = measure_links(LinkScope::network, effort, *device, world());
  std::vector<std::string> names;
  for (const LinkRate& link : links) {
    names.push_back(link.collective);
    EXPECT_EQ(link.scope, LinkScope::network);
    EXPECT_GT(link.gbytes, 0) << link.collective;
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("all_reduce", "all_gather", "reduce_scatter",
                                                   "exchange"));
}

}  // namespace
}  // namespace dualpath
