// CUDA graphs on a GPU: training by them is training, bit by bit.
#include <gmock/gmock.h>

#include "core/cuda/cuda_device.h"
#include "core/device/observed_device.h"
#include "tests/expect_error.h"
#include "tests/forwarding_device.h"
#include "tests/mpi/grid_rig.h"

namespace dualpath {
namespace {

using testing::HasSubstr;

std::map<std::string, std::function<void(Device&, Stream&)>> refused_calls() {
  return {{"allocation", [](Device& device, Stream&) { device.allocate(8); }},
          {"allocation that nobody misses",
           [](Device& device, Stream&) { EXPECT_THROW(device.allocate(8), Error); }},
          {"wait", [](Device&, Stream& stream) { stream.synchronize(); }},
          {"failure", [](Device&, Stream&) { DUALPATH_FAIL(ExitCode::internal, "of ours"); }}};
}

class CudaGraphTest : public testing::Test {
 protected:
  void SetUp() override {
    if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
    device = make_cuda_device(0);
    stream = device->make_stream();
    ops = device->make_ops(*stream);
    buffer = device->allocate(4 * sizeof(float));
    x = {buffer.data(), DType::f32, {4}};
    recorder = device->make_recorder(*stream);
  }
  float value() {
    float values[4] = {};
    device->copy_to_host(values, x, *stream);
    stream->synchronize();
    return values[3];
  }
  void twice() { ops->run(op::Sum{.out = x, .a = x, .b = x}); }

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Ops> ops;
  Buffer buffer;
  Tensor x;
  std::unique_ptr<WorkRecorder> recorder;
};

TEST_F(CudaGraphTest, RecordsAndReplays) {
  int issued = 0;
  const auto work = [&] {
    ++issued;
    twice();
    twice();
  };
  ops->run(op::Fill{.out = x, .value = 1});
  EXPECT_TRUE(recorder->record(3, work));
  EXPECT_EQ(value(), 1);
  recorder->replay(3, work);
  EXPECT_EQ(value(), 4);
  recorder->replay(3, work);
  twice();
  EXPECT_EQ(value(), 32);
  EXPECT_EQ(issued, 1);
  EXPECT_TRUE(recorder->record(3, [&] { ops->run(op::Fill{.out = x, .value = 7}); }));
  twice();
  recorder->replay(3, {});
  EXPECT_EQ(value(), 7);
}

// After each the stream is as it was, and nothing of the work is done.
TEST_F(CudaGraphTest, WhatCannotBeRecordedIsAnError) {
  const auto message = [&](const std::function<void()>& call) {
    const std::string found = error_of(ExitCode::internal, [&] {
      recorder->record(0, [&] {
        twice();
        call();
      });
    });
    ops->run(op::Fill{.out = x, .value = 3});
    twice();
    EXPECT_EQ(value(), 6);
    return found;
  };
  const float host[4] = {};
  EXPECT_THAT(message([&] { device->copy_to_device(x, host, *stream); }), HasSubstr("upload"));
  EXPECT_THAT(message([&] { stream->synchronize(); }), HasSubstr("captured"));
  EXPECT_THAT(message([&] { DUALPATH_FAIL(ExitCode::internal, "of the caller's"); }),
              HasSubstr("of the caller's"));
  EXPECT_THAT(
      error_of(ExitCode::configuration, [&] { recorder->record(0, [&] { device->allocate(8); }); }),
      HasSubstr("capturing"));
  EXPECT_EQ(value(), 6);
}

struct Case {
  std::string name;
  NumericTypes types;
  Recompute recompute;
  std::int64_t micro_batch;  // of 8 sequences a step
};

TrainerOptions options_of(const Case& c, CudaGraphs graphs) {
  ParallelConfig parallel;
  parallel.recompute = c.recompute;
  TrainerOptions options = grid_options(Architecture::dual_path, c.types, parallel, c.micro_batch);
  options.model.layers = 2;
  options.cuda_graphs = graphs;
  return options;
}

GridRig rig_of(const TrainerOptions& options) {
  static const auto self = make_self_communicator();
  return {options, *self, make_cuda_device(0)};
}

class CudaGraphTraining : public testing::TestWithParam<Case> {};

// Steps, a validation of another number of sequences, logits, which need memory, and more steps.
std::vector<double> losses_of(GridRig& rig) {
  std::vector<double> losses;
  const auto go_on = [&](std::int64_t steps) {
    const History history = rig.go_on(steps);
    for (const auto& figures : {history.losses, history.norms, history.readouts})
      losses.insert(losses.end(), figures.begin(), figures.end());
  };
  rig.trainer.start(rig.source, {});
  go_on(3);
  losses.push_back(rig.trainer.validate(rig.source, 3, {}).loss);
  const std::size_t allocations = rig.device->num_allocations();
  go_on(1);
  EXPECT_EQ(rig.device->num_allocations(), allocations);
  rig.trainer.model().logits(std::vector<std::int32_t>{1, 2}, true);
  EXPECT_GT(rig.device->num_allocations(), allocations);
  go_on(2);
  return losses;
}

TEST_P(CudaGraphTraining, GivesTheSameBits) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  GridRig by_graphs = rig_of(options_of(GetParam(), CudaGraphs::on));
  GridRig by_kernels = rig_of(options_of(GetParam(), CudaGraphs::off));
  EXPECT_EQ(by_graphs.trainer.describe_graphs(),
            fmt::format("CUDA graphs: 2, for the passes of micro-batches 1 to {} of a step",
                        grid_batch / GetParam().micro_batch));
  EXPECT_EQ(losses_of(by_graphs), losses_of(by_kernels));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, CudaGraphTraining,
    testing::Values(Case{"fp32_none_1", fp32, Recompute::none, 8},
                    Case{"fp32_layer_2", fp32, Recompute::layer, 4},
                    Case{"bf16_iteration_4", {.operand = DType::bf16}, Recompute::iteration, 2}),
    [](const auto& info) { return info.param.name; });

// A GPU where what is recorded comes with a call that has no place in a graph, from `refused` on.
class RefusingDevice final : public ForwardingDevice {
 public:
  RefusingDevice(int refused, std::function<void(Device&, Stream&)> call)
      : ForwardingDevice(make_cuda_device(0)), refused_(refused), call_(std::move(call)) {}

  std::unique_ptr<WorkRecorder> make_recorder(Stream& stream) override {
    return std::make_unique<Recorder>(*this, stream);
  }

 private:
  class Recorder final : public WorkRecorder {
   public:
    Recorder(RefusingDevice& device, Stream& stream)
        : device_(device), stream_(stream), recorder_(device.device().make_recorder(stream)) {}
    bool record(std::size_t number, const Issue& issue) override {
      return recorder_->record(number, [&] {
        issue();
        if (device_.refused_-- <= 0) device_.call_(device_.device(), stream_);
      });
    }
    void replay(std::size_t number, const Issue& issue) override {
      recorder_->replay(number, issue);
    }

   private:
    RefusingDevice& device_;
    Stream& stream_;
    std::unique_ptr<WorkRecorder> recorder_;
  };

  int refused_;
  std::function<void(Device&, Stream&)> call_;
};

// Of a step with four micro-batches.
TEST(CudaGraphs, TrainingGoesOnWithoutWhereTheyAreRefused) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const Case c{"", fp32, Recompute::none, 2};
  const auto self = make_self_communicator();
  GridRig by_kernels = rig_of(options_of(c, CudaGraphs::off));
  const History expected = by_kernels.train(3);
  for (const int refused : {0, 1}) {  // a forward pass, a backward pass
    for (const auto& refusal : refused_calls()) {
      SCOPED_TRACE(fmt::format("{} {}", refusal.first, refused));
      const auto on = [&] { return std::make_unique<RefusingDevice>(refused, refusal.second); };
      GridRig rig(options_of(c, CudaGraphs::automatic), *self, on());
      const History found = rig.train(3);
      EXPECT_THAT(rig.trainer.describe_graphs(), HasSubstr("could not be recorded"));
      EXPECT_EQ(found.losses, expected.losses);
      EXPECT_EQ(found.norms, expected.norms);
      EXPECT_EQ(found.readouts, expected.readouts);

      GridRig wanted(options_of(c, CudaGraphs::on), *self, on());
      EXPECT_THAT(error_of(ExitCode::configuration, [&] { wanted.train(2); }),
                  HasSubstr("train.cuda_graphs = on, but no pass can be a graph: "));
    }
  }
}

class KernelCounter final : public KernelObserver {
 public:
  void on_call(const KernelCall& call, Stream&) override {
    call.issue();
    ++count;
  }
  int count = 0;
};

// A step that is looked into has all its kernels, whether it would be recorded or replayed.
TEST(CudaGraphs, AreLeftAsideWhileKernelsAreObserved) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  const auto gpu = make_cuda_device(0);
  auto observed = std::make_unique<ObservedDevice>(*gpu);
  ObservedDevice& device = *observed;
  const auto self = make_self_communicator();
  GridRig rig(options_of({"", fp32, Recompute::none, 4}, CudaGraphs::on), *self,
              std::move(observed));
  KernelCounter first, recorded, replayed;
  const auto step_seen_by = [&](KernelObserver* observer) {
    device.observe(observer);
    rig.go_on(1);
    device.observe(nullptr);
  };
  rig.trainer.start(rig.source, {});
  step_seen_by(&first);
  step_seen_by(&recorded);
  step_seen_by(nullptr);  // is recorded
  step_seen_by(&replayed);
  rig.go_on(1);
  EXPECT_GT(first.count, 0);
  EXPECT_EQ(recorded.count, first.count);
  EXPECT_EQ(replayed.count, first.count);
}

}  // namespace
}  // namespace dualpath
