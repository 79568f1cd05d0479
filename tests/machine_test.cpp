// A machine's description: its file, the rates that are fitted to measurements, and the layouts
// that are ranked by it.
#include "launcher/plan/machine.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "launcher/bench/rate_fit.h"
#include "launcher/plan/job_plan.h"
#include "launcher/plan/layout_ranking.h"
#include "launcher/plan/machine_model.h"
#include "launcher/train/training_options.h"
#include "model/resolve_config.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Machine small_machine() {
  return {.name = "small: a test's",
          .processor = Processor::gpu,
          .ranks_per_node = 2,
          .memory_gb = 1.5,
          .process_mb = 50,
          .kernels = {{.gbytes = 10},
                      {.kernel = "matmul", .overhead_us = 0.25, .gflops = 100, .gbytes = 20},
                      {.kernel = "matmul tn +=", .gflops = 80},
                      {.precision = Precision::bf16, .gflops = 200, .gbytes = 1.0 / 3}},
          .links = {{.gbytes = 5},
                    {.collective = "all_reduce", .latency_us = 3, .gbytes = 2},
                    {.scope = LinkScope::network, .latency_us = 10, .gbytes = 1}}};
}

class MachineFile : public testing::Test {
 protected:
  std::string refusal_of(const std::string& text) {
    std::ofstream(file_) << text;
    return error_of(ExitCode::configuration, [&] { load_machine(file_); });
  }
  const TemporaryFolder folder_;
  const std::string file_ = folder_ / "machine.yaml";
};

TEST_F(MachineFile, ReadsBackAsItWasWritten) {
  save_machine(file_, small_machine());
  EXPECT_EQ(print_config(load_machine(file_)), print_config(small_machine()));
}

TEST_F(MachineFile, RefusesWhatCannotBe) {
  const std::string others = "kernels: [{kernel: '', gbytes: 1}";
  EXPECT_THAT(refusal_of("kernels: [{kernel: matmul}]"), HasSubstr("kernel: \"\""));
  EXPECT_THAT(refusal_of("name: a\nkernels: [{kernel: add}, {kernel: ''}]"),
              AllOf(HasSubstr("kernels[1]"), HasSubstr("no time"), Not(HasSubstr("kernels[0]"))));
  EXPECT_THAT(refusal_of(others + "]"), HasSubstr("give it a name"));
  EXPECT_THAT(refusal_of(others + ", {kernel: '', gflop: 1}]"), HasSubstr("gflops"));
  EXPECT_THAT(refusal_of(others + ", {kernel: add, gbytes: -1}]"), HasSubstr("-1"));
  EXPECT_THAT(refusal_of(others + ", {kernel: add}, {kernel: add}]"),
              AllOf(HasSubstr("kernels[2]"), HasSubstr("second")));
  EXPECT_THAT(refusal_of(others + "]\nlinks: [{collective: all_gathr}]"),
              HasSubstr("did you mean all_gather?"));
  EXPECT_THAT(refusal_of(others + "]\nlinks: [{scope: rack}]"), HasSubstr("network"));
  EXPECT_THAT(refusal_of("kernels: ["), HasSubstr("machine.yaml"));
  EXPECT_THAT(error_of(ExitCode::configuration, [] { load_machine("/nowhere.yaml"); }),
              HasSubstr("/nowhere.yaml"));
}

TEST(MachineModel, TheLongestNameHolds) {
  const Machine machine = small_machine();
  EXPECT_EQ(rate_of(machine, "matmul tn +=", Precision::fp32).gflops, 80);
  EXPECT_EQ(rate_of(machine, "matmul tn", Precision::fp32).gflops, 100);
  EXPECT_EQ(rate_of(machine, "add", Precision::fp32).gbytes, 10);
  EXPECT_EQ(rate_of(machine, "matmul tn +=", Precision::bf16).gflops, 200);
}

TEST(MachineModel, ACallTakesItsOverheadFlopsAndBytes) {
  const Machine machine = small_machine();
  TimedDryRun run(machine);
  const auto ops = run.device().make_ops(run.stream());
  const auto tensor = [](Shape shape, DType dtype) { return Tensor{nullptr, dtype, shape}; };
  const auto product = [&](DType type) {
    const double before = run.seconds();
    ops->run(op::Matmul{.c = tensor({200, 300}, DType::f32),
                        .a = tensor({200, 500}, type),
                        .b = tensor({500, 300}, type)});
    return run.seconds() - before;
  };
  const double flops = 2.0 * 200 * 300 * 500;
  EXPECT_DOUBLE_EQ(product(DType::f32),
                   0.25e-6 + flops / 100e9 + 4.0 * (200 * 300 + 200 * 500 + 500 * 300) / 20e9);
  EXPECT_NEAR(product(DType::bf16),
              flops / 200e9 + (4.0 * 200 * 300 + 2.0 * (200 * 500 + 500 * 300)) * 3e-9, 1e-15);
}

TEST(MachineModel, MessagesGoWithinANodeOrBetween) {
  const Machine machine = small_machine();
  Traffic traffic;
  traffic[Collective::all_reduce] = {.calls = 3, .bytes = 1000};
  traffic[Collective::exchange] = {.calls = 1, .bytes = 1000};
  const auto seconds = [&](std::vector<int> members) {
    return seconds_of(traffic, members, machine);
  };
  EXPECT_EQ(seconds({5}), 0);
  EXPECT_DOUBLE_EQ(seconds({2, 3}), 3 * 3e-6 + 1000 / 2e9 + 1000 / 5e9);
  EXPECT_DOUBLE_EQ(seconds({1, 2}), 4 * 10e-6 + 2000 / 1e9);
  EXPECT_DOUBLE_EQ(seconds({0, 2, 4, 6, 8}), 4 * 3 * 10e-6 + 2000 / 1e9) << "3 rounds";
  Machine alone = machine;
  alone.links.pop_back();
  const std::vector<int> apart{1, 2};
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { seconds_of(traffic, apart, alone); }),
              AllOf(HasSubstr("network"), HasSubstr("all_reduce")));
}

std::vector<TimedCall> calls_of(const KernelRate& rate) {
  std::vector<TimedCall> calls;
  for (const double flops : {1e3, 1e6, 1e9}) {
    for (const double bytes : {1e4, 3e6}) calls.push_back({flops, bytes, 0});
  }
  for (TimedCall& c : calls) c.seconds = seconds_of(rate, c.flops, c.bytes);
  return calls;
}

TEST(RateFit, FindsTheRatesThatMadeTheTimes) {
  for (const KernelRate& rate :
       {KernelRate{.overhead_us = 2, .gflops = 200, .gbytes = 30},
        KernelRate{.gflops = 200, .gbytes = 30}, KernelRate{.overhead_us = 2, .gbytes = 30},
        KernelRate{.overhead_us = 2}}) {
    const KernelRate found = fit_rate(calls_of(rate));
    EXPECT_NEAR(found.overhead_us, rate.overhead_us, 1e-6);
    EXPECT_NEAR(found.gflops, rate.gflops, 1e-6 * rate.gflops);
    EXPECT_NEAR(found.gbytes, rate.gbytes, 1e-6 * rate.gbytes);
  }
}

// Times that fall with size: a straight line through them has a slope below 0.
TEST(RateFit, NothingIsBelowZero) {
  const std::vector<TimedCall> calls{{0, 1e3, 3e-6}, {0, 2e3, 2e-6}, {0, 3e3, 1e-6}};
  const KernelRate rate = fit_rate(calls);
  EXPECT_EQ(rate.gbytes, 0);
  // The least Σ (x/t - 1)²: Σ 1/t / Σ 1/t².
  EXPECT_NEAR(rate.overhead_us, (1.0 / 3 + 1.0 / 2 + 1) / (1.0 / 9 + 1.0 / 4 + 1), 1e-9);
}

TEST(RateFit, OneCallIsItsFlops) {
  const KernelRate rate = fit_rate(std::vector<TimedCall>{{1e6, 1e3, 1e-4}});
  EXPECT_NEAR(rate.gflops, 10, 1e-9);
  EXPECT_EQ(rate.gbytes, 0);
  EXPECT_EQ(rate.overhead_us, 0);
}

class Ranking : public testing::Test {
 protected:
  Ranking() {
    ModelConfig& model = run_.model;
    model.layers = 4;
    model.hidden_size = 64;
    model.attention_heads = 4;
    model.sequence_length = 32;
    model.vocab_size = 512;
    model.deep = {.iterations = 3, .ffn_hidden_size = 64};
    model.wide.ffn_hidden_size = 256;
    run_.train.global_batch_size = 16;
    run_.data.mock = true;
    machine_.memory_gb = 100;
  }
  double seconds_alone(const RankedLayout& layout) const {
    RunConfig run = run_;
    run.parallel = layout.parallel;
    run.train.micro_batch_size = layout.micro_batch_size;
    const auto ranks = grid_shape(layout.parallel).size();
    return forecast_step(trainer_options(resolve(run, ranks, Processor::unknown), 1), machine_)
        .seconds();
  }
  RunConfig run_;
  Machine machine_ = small_machine();
};

std::vector<std::string> texts(const LayoutRanking& ranking) {
  std::vector<std::string> texts;
  for (const RankedLayout& layout : ranking.fitting) texts.push_back(layout.overrides({}));
  return texts;
}

TEST_F(Ranking, FastestFirstEachOnceAndTheSameAgain) {
  const LayoutRanking ranking = rank_layouts(run_, 8, machine_);
  ASSERT_GT(ranking.fitting.size(), 20U);
  EXPECT_TRUE(std::ranges::is_sorted(ranking.fitting, {}, &RankedLayout::step_seconds));
  for (const RankedLayout& layout : {ranking.fitting.front(), ranking.fitting.back()})
    EXPECT_EQ(layout.step_seconds, seconds_alone(layout));
  std::vector<std::string> once = texts(ranking);
  EXPECT_EQ(once, texts(rank_layouts(run_, 8, machine_)));
  std::ranges::sort(once);
  EXPECT_EQ(std::ranges::adjacent_find(once), once.end());
  for (const RankedLayout& layout : ranking.fitting) {
    const ParallelConfig& p = layout.parallel;
    EXPECT_EQ(p.tensor * p.pipeline * p.data, 8);
    EXPECT_EQ(p.recompute, Recompute::none) << "there is memory enough";
  }
  EXPECT_FALSE(ranking.too_large);
}

// Beside the searched config, whatever layout that has, the fields of a layout make that layout.
TEST_F(Ranking, OverridesMakeTheLayout) {
  run_.parallel.data = 2;
  run_.parallel.pipeline = 2;
  run_.parallel.virtual_pipeline = 2;
  run_.parallel.stage_layers = {1, 1, 1, 1};
  run_.parallel.vocab = VocabularyLayout::sharded;
  run_.parallel.recompute = Recompute::layer;
  run_.train.steps = 1;
  const LayoutRanking ranking = rank_layouts(run_, 4, machine_);
  ASSERT_GT(ranking.fitting.size(), 5U);
  for (const RankedLayout& layout : ranking.fitting) {
    ConfigSource source;
    source.add_text(print_config(run_), "searched");
    std::istringstream words(layout.overrides(run_.parallel));
    for (std::string word; words >> word;) source.add_override(word);
    ConfigProblems problems;
    const auto given = read_config<RunConfig>(source, problems);
    validate(given, 4, problems);
    EXPECT_TRUE(problems.empty()) << layout.overrides(run_.parallel);
    RunConfig meant = run_;
    meant.parallel = layout.parallel;
    meant.parallel.overlap = run_.parallel.overlap;
    meant.train.micro_batch_size = layout.micro_batch_size;
    EXPECT_EQ(print_config(given), print_config(meant));
  }
}

// Where memory is short, layouts recompute or go; what remains fits.
TEST_F(Ranking, FitsTheMemory) {
  std::vector<double> memory;
  for (const RankedLayout& layout : rank_layouts(run_, 4, machine_).fitting)
    memory.push_back(layout.memory_gb);
  std::ranges::sort(memory);
  machine_.memory_gb = memory[memory.size() / 2];
  const LayoutRanking ranking = rank_layouts(run_, 4, machine_);
  EXPECT_LT(ranking.fitting.size(), memory.size());
  bool recomputes = false;
  for (const RankedLayout& layout : ranking.fitting) {
    EXPECT_LE(layout.memory_gb, machine_.memory_gb);
    recomputes |= layout.parallel.recompute != Recompute::none;
  }
  EXPECT_TRUE(recomputes);
  ASSERT_TRUE(ranking.too_large);
  EXPECT_GT(ranking.too_large->memory_gb, machine_.memory_gb);
  machine_.memory_gb = machine_.process_mb / 1e3;
  EXPECT_TRUE(rank_layouts(run_, 4, machine_).fitting.empty()) << "nothing beside the process";
}

// On a CPU in bf16 the weights of a layer are packed and the head's in two forms; where passes are
// recomputed a layer's in two forms too.
TEST_F(Ranking, KernelsTakeMemoryOfTheirOwnByProcessorAndPrecision) {
  run_.model.layers = 1;
  run_.train.micro_batch_size = 1;
  const auto planned = [&](Processor processor, Precision precision, Recompute recompute) {
    run_.train.precision = precision;
    run_.parallel.recompute = recompute;
    machine_.processor = processor;
    return plan_job(trainer_options(resolve(run_, 1, processor), 1), machine_)
        .stages.front()
        .memory;
  };
  const auto none = Recompute::none;
  EXPECT_EQ(planned(Processor::unknown, Precision::bf16, none).kernel_bytes(), 0U);
  EXPECT_EQ(planned(Processor::cpu, Precision::fp32, none).kernel_bytes(), 0U);
  const std::size_t head = 2 * 512 * 64;
  const RankMemory kept = planned(Processor::cpu, Precision::bf16, none);
  EXPECT_EQ(kept.kernel_bytes(), (kept.copies - head) + 2 * head);
  const RankMemory rebuilt = planned(Processor::cpu, Precision::bf16, Recompute::layer);
  EXPECT_EQ(rebuilt.kernel_bytes(), 2 * rebuilt.copies);
  EXPECT_EQ(planned(Processor::gpu, Precision::fp32, none).kernel_bytes(), 32U << 20);
  const RankMemory fused = planned(Processor::gpu, Precision::bf16, none);
  // log_sum and delta of 4 heads of 32 tokens, their scores in tiles of 128 x 64
  EXPECT_EQ(fused.kernel_bytes(), (32U << 20) + 2 * 512 + 4 * 128 * 64 * 2 + 256);
  std::size_t others = fused.values + fused.copies + fused.gradients + fused.moments;
  others += fused.activations.stash_bytes + fused.activations.scratch_bytes;
  EXPECT_EQ(fused.total(), others + fused.activations.constant_bytes + fused.kernel_bytes());
}

}  // namespace
}  // namespace dualpath
