// What is recorded of a step, and that nothing is of the others.
#include "launcher/train/profiler.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/cpu/cpu_device.h"
#include "launcher/commands.h"
#include "tests/allocation_counter.h"
#include "tests/expect_error.h"
#include "tests/small_training.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

struct Range {
  std::string name;
  int thread;
  double begin, end;
  bool holds(const Range& other) const {
    return thread == other.thread && begin <= other.begin && other.end <= end;
  }
  bool is_apart_from(const Range& other) const {
    return thread != other.thread || end <= other.begin || other.end <= begin;
  }
};

// As written: a range behind those that it holds. Times are rounded to the nanosecond.
std::vector<Range> ranges_of(const Json& trace) {
  std::vector<Range> ranges;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts");
    ranges.push_back(
        {event.at("name"), event.at("tid"), begin, begin + event.at("dur").get<double>()});
  }
  return ranges;
}

std::map<std::string, int> counts_of(const std::vector<Range>& ranges) {
  std::map<std::string, int> counts;
  for (const Range& range : ranges) ++counts[range.name];
  return counts;
}

std::vector<std::string> names_in(const TraceRecorder& recorder) {
  std::vector<std::string> names;
  for (const Range& range : ranges_of(Json::parse(recorder.json(0, "test"))))
    names.push_back(range.name);
  return names;
}

TEST(TraceRecorder, HoldsWhatBeginsAndEndsWhileItRecords) {
  TraceRecorder recorder;
  {
    const Phase early(&recorder, "early");
    recorder.start();
    { const Phase whole(&recorder, "whole", 7); }
    const Phase outer(&recorder, "outer", "of \"two\"");
    { const Phase inner(&recorder, "inner"); }
  }
  const Phase late(&recorder, "late");
  recorder.stop();
  EXPECT_THAT(names_in(recorder), ElementsAre("whole 7", "inner", "outer of \"two\""));
  recorder.start();
  recorder.stop();
  EXPECT_THAT(names_in(recorder), IsEmpty()) << "of before";
}

TEST(TraceRecorder, ThreadsHaveTracksOfTheirOwn) {
  TraceRecorder recorder;
  OperationsUnderWay operations;
  operations.trace(&recorder);
  recorder.start();
  {
    const Phase computing(&recorder, "computing");
    std::thread([&] {
      const std::string group = "data";
      const OperationsUnderWay::Operation operation(operations, group, "all_reduce", 8);
    }).join();
  }
  recorder.stop();
  const std::vector<Range> ranges = ranges_of(Json::parse(recorder.json(3, "rank 3")));
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].name, "computing");
  EXPECT_EQ(ranges[0].thread, 0);
  EXPECT_EQ(ranges[1].name, "all_reduce data");
  EXPECT_EQ(ranges[1].thread, 1);
}

class ProfiledRun : public testing::Test {
 protected:
  std::vector<std::string> words(std::vector<std::string> more) const {
    std::vector<std::string> all = {"run.folder=" + folder_ / "run",
                                    "data.mock=true",
                                    "model.layers=2",
                                    "model.hidden_size=16",
                                    "model.attention_heads=2",
                                    "model.sequence_length=16",
                                    "model.vocab_size=32",
                                    "model.deep.iterations=3",
                                    "model.deep.ffn_hidden_size=16",
                                    "model.wide.ffn_hidden_size=16",
                                    "train.device=cpu",
                                    "train.threads=1",
                                    "train.global_batch_size=4",
                                    "train.micro_batch_size=2",
                                    "logging.tensorboard=false"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void train(const std::vector<std::string>& more) const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(train_command.run(words(more)), ExitCode::success);
    testing::internal::GetCapturedStdout();
  }
  std::vector<double> losses(const char* run) const {
    std::ifstream file(folder_ / run + "/metrics.jsonl");
    std::vector<double> all;
    for (std::string line; std::getline(file, line);) {
      const Json row = Json::parse(line);
      if (row.contains("loss")) all.push_back(row.at("loss"));
    }
    return all;
  }
  std::vector<Range> trace() const {
    std::ifstream file(folder_ / "run/profile/rank-0.json");
    return ranges_of(Json::parse(file));
  }

  const TemporaryFolder folder_;
};

TEST_F(ProfiledRun, HasThePhasesOfItsStepsAndNoOthers) {
  train({"train.steps=5", "profile.start_step=2", "profile.end_step=3"});
  const std::vector<Range> ranges = trace();
  std::map<std::string, int> counts = counts_of(ranges);
  EXPECT_EQ(counts["step 1"] + counts["step 4"] + counts["step 5"], 0);
  constexpr int steps = 2, micro_batches = 2, passes = 2;
  for (const char* once : {"step 2", "step 3"}) EXPECT_EQ(counts[once], 1) << once;
  for (const char* in_step : {"forward 0", "forward 1", "backward 1", "sums", "optimizer"})
    EXPECT_EQ(counts[in_step], steps) << in_step;
  for (const char* in_pass : {"layer 0", "layer 1"})
    EXPECT_EQ(counts[in_pass], steps * micro_batches * passes) << in_pass;
  EXPECT_EQ(counts["head"], steps * micro_batches);
  EXPECT_EQ(counts["iteration 3"], steps * micro_batches * passes * 2);
  EXPECT_EQ(counts["wide"], steps * micro_batches * passes * 2 * 3) << "each pass has three parts";
  EXPECT_EQ(counts["attention"], steps * micro_batches * 2 * 4) << "a kernel";
}

TEST_F(ProfiledRun, RangesNest) {
  train({"train.steps=3", "profile.start_step=2"});
  const std::vector<Range> ranges = trace();
  constexpr double rounding = 2e-3;  // us
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      Range outer = ranges[i];
      outer.begin -= rounding;
      outer.end += rounding;
      Range inner = ranges[j];
      inner.end -= rounding;
      EXPECT_TRUE(outer.holds(ranges[j]) || inner.is_apart_from(ranges[i]))
          << ranges[j].name << " and " << ranges[i].name;
    }
  }
  EXPECT_EQ(ranges.back().name, "step 2");
  for (const Range& range : ranges) {
    EXPECT_GE(range.begin, ranges.back().begin) << range.name;
    EXPECT_LE(range.end, ranges.back().end + rounding) << range.name;
  }
}

TEST_F(ProfiledRun, LosesNothingWhereTheRunEndsEarlierAndChangesNoBit) {
  train({"train.steps=3", "profile.start_step=3", "profile.end_step=9"});
  EXPECT_EQ(counts_of(trace())["step 3"], 1);
  train({"train.steps=3", "run.folder=" + folder_ / "plain"});
  EXPECT_EQ(losses("run"), losses("plain"));
  EXPECT_THAT(losses("run"), testing::SizeIs(3));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "plain/profile"));
}

TEST_F(ProfiledRun, RefusesStepsAndRanksThatAreNot) {
  const std::string message = error_of(ExitCode::configuration, [&] {
    train_command.run(words(
        {"train.steps=3", "profile.start_step=3", "profile.end_step=2", "profile.ranks=[0, 4]"}));
  });
  EXPECT_THAT(message, HasSubstr("2 is before profile.start_step 3"));
  EXPECT_THAT(message, HasSubstr("there is no rank 4; the last one is 0"));
}

TEST(Profiler, OtherStepsAllocateNothing) {
  const auto cpu = make_cpu_device(1);
  OperationsUnderWay operations;
  Profiler profiler({.start_step = 100, .end_step = 101, .ranks = {0}}, 0, *cpu, operations);
  const auto stream = profiler.device().make_stream();
  const auto ranks = make_self_communicator();
  TrainerOptions options = small_options();
  options.tracer = profiler.tracer();
  const CountingTokens source;
  Trainer trainer(options, profiler.device(), *stream, *ranks);
  trainer.initialize();
  trainer.start(source, {});
  trainer.step({});
  const std::filesystem::path file = "nowhere";
  const std::uint64_t allocations = num_heap_allocations();
  for (std::int64_t step = 2; step < 5; ++step) {
    profiler.before_step(step, *stream);
    trainer.step({});
    profiler.after_step(step, false, *stream, file);
  }
  EXPECT_EQ(num_heap_allocations(), allocations);
}

TEST(Profiler, OfAnotherRankHasNothingToTell) {
  const auto cpu = make_cpu_device(1);
  OperationsUnderWay operations;
  Profiler profiler({.start_step = 1, .end_step = 1, .ranks = {0}}, 1, *cpu, operations);
  EXPECT_EQ(profiler.tracer(), nullptr);
  EXPECT_EQ(&profiler.device(), cpu.get());
}

}  // namespace
}  // namespace dualpath
