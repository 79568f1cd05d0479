// CUDA refuses a training run's capture, at a call of the test's choice: the run goes on, bit by
// bit as one without CUDA graphs, and says so once. Where graphs are wanted it ends.
#include <gmock/gmock.h>

#include "core/cuda/cuda_device.h"
#include "tests/expect_error.h"
#include "tests/fake_cuda/machine.h"
#include "tests/mpi/grid_rig.h"

namespace dualpath {
namespace {

using fake_cuda::CaptureCall;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// Four micro-batches a step: two graphs, each replayed four times.
TrainerOptions options_with(CudaGraphs graphs) {
  TrainerOptions options = grid_options(Architecture::dual_path, fp32, {}, grid_batch / 4);
  options.model.layers = 1;
  options.cuda_graphs = graphs;
  return options;
}

struct Rig {
  explicit Rig(CudaGraphs graphs)
      : self(make_self_communicator()), grid(options_with(graphs), *self, make_cuda_device(0)) {
    grid.trainer.start(grid.source, {});
  }
  StepResult step() { return grid.trainer.step({}); }
  GlobalTensors state() {
    return assemble(grid.trainer.state(), *self, SliceAccess(*grid.device, *grid.stream));
  }
  std::unique_ptr<Communicator> self;
  GridRig grid;
};

fake_cuda::Captures& captures() {
  return fake_cuda::Machine::current().captures();
}

struct Figures {
  double loss, norm;
  std::vector<double> readouts;
  explicit Figures(const StepResult& r)
      : loss(r.loss), norm(r.grad_norm), readouts(r.readouts.begin(), r.readouts.end()) {}
  bool operator==(const Figures&) const = default;
};

struct Outcome {
  std::vector<Figures> steps;
  GlobalTensors state;
  bool operator==(const Outcome&) const = default;
};
constexpr int steps = 3;

Outcome without_graphs() {
  Rig rig(CudaGraphs::off);
  Outcome run;
  for (int i = 0; i < steps; ++i) run.steps.emplace_back(rig.step());
  run.state = rig.state();
  return run;
}

// Pieces of work in both graphs.
int num_pieces() {
  Rig rig(CudaGraphs::on);
  rig.step();
  rig.step();
  return captures().num_pieces();
}

void expect_fallback(CaptureCall call, int before, const Outcome& expected) {
  SCOPED_TRACE(fmt::format("call {} after {}", static_cast<int>(call), before));
  const int launched = fake_cuda::Machine::current().num_graph_launches();
  captures().refuse(call, before);
  Rig rig(CudaGraphs::automatic);
  Outcome run;
  for (int i = 0; i < steps; ++i) {
    const StepResult result = rig.step();
    if (i == 1) {
      EXPECT_THAT(result.no_graphs, HasSubstr("ward could not be recorded: "));
    } else {
      EXPECT_EQ(result.no_graphs, "");
    }
    run.steps.emplace_back(result);
  }
  run.state = rig.state();
  EXPECT_TRUE(run == expected);
  EXPECT_EQ(fake_cuda::Machine::current().num_graph_launches(), launched);
  // Neither graphs nor what was made of them, while the trainer lives.
  EXPECT_THAT(fake_cuda::Machine::current().leaks(), Not(Contains(HasSubstr("graph"))));
}

TEST(RefusedCapture, TrainingGoesOnByKernels) {
  const Outcome expected = without_graphs();
  const int pieces = num_pieces();
  ASSERT_GT(pieces, 20);
  for (const int before : {0, pieces / 4, pieces / 2, 3 * pieces / 4, pieces - 1}) {
    expect_fallback(CaptureCall::work, before, expected);
    expect_fallback(CaptureCall::unseen_work, before, expected);
  }
  for (const int graph : {0, 1}) {
    for (const CaptureCall call :
         {CaptureCall::begin, CaptureCall::end, CaptureCall::instantiate, CaptureCall::upload})
      expect_fallback(call, graph, expected);
  }
}

// Of a later recording, where there are graphs already.
TEST(RefusedCapture, OfGraphsThatAreRecordedAnew) {
  const Outcome expected = without_graphs();
  Rig rig(CudaGraphs::automatic);
  Outcome run;
  run.steps.emplace_back(rig.step());
  run.steps.emplace_back(rig.step());
  const Buffer moved = rig.grid.device->allocate(1);
  captures().refuse(CaptureCall::end, 1);
  const StepResult third = rig.step();
  EXPECT_THAT(third.no_graphs, HasSubstr("backward could not be recorded: "));
  run.steps.emplace_back(third);
  run.state = rig.state();
  EXPECT_TRUE(run == expected);
}

TEST(RefusedCapture, IsAnErrorWhereGraphsAreWanted) {
  Rig rig(CudaGraphs::on);
  rig.step();
  captures().refuse(CaptureCall::work, 0);
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { rig.step(); }),
              HasSubstr("train.cuda_graphs = on, but no pass can be a graph: forward could not be "
                        "recorded: a launch of "));
}

}  // namespace
}  // namespace dualpath
