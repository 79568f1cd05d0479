// Ranks with a fake GPU each train through NCCL as they do through MPI, bit by bit: the imitation
// adds as MPI does.
#include <gtest/gtest.h>

#include "core/cuda/cuda_device.h"
#include "parallel/nccl_communicator.h"
#include "parallel/staged_communicator.h"
#include "tests/fake_cuda/machine.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

std::unique_ptr<Device> own_gpu() {
  return make_cuda_device(world().rank());
}

// A step and a validation after it.
History train(const TrainerOptions& options, Communicator& ranks) {
  GridRig rig(options, ranks, own_gpu());
  History history = rig.train(1);
  history.losses.push_back(rig.trainer.validate(rig.source, 2, {}).loss);
  return history;
}

// On two ranks each axis, on four two of them: the emulated kernels are slow.
std::vector<ParallelConfig> layouts() {
  ParallelConfig tensor, pipeline, data;
  tensor.tensor = 2;
  tensor.vocab = VocabularyLayout::sharded;
  pipeline.pipeline = pipeline.virtual_pipeline = 2;
  pipeline.schedule = Schedule::interleaved;
  data.zero = Zero::off;
  ParallelConfig both = tensor;
  both.pipeline = 2;
  ParallelConfig in_place = pipeline;
  std::vector<ParallelConfig> all = {both};
  if (world().size() == 2) all = {tensor, pipeline, data};
  for (ParallelConfig& layout : all) layout.overlap = Overlap::on;
  in_place.overlap = Overlap::off;
  if (world().size() == 2) all.push_back(in_place);
  return all;
}

TEST(NcclTraining, EveryAxisTrainsAsWithMpi) {
  const auto gpu = own_gpu();
  OperationsUnderWay operations;
  const auto nccl = make_nccl_communicator(world(), *gpu, operations);
  const auto staged = make_staged_communicator(world(), *gpu);
  for (const ParallelConfig& layout : layouts()) {
    SCOPED_TRACE(describe(layout));
    const TrainerOptions options = grid_options(Architecture::dual_path, fp32, layout);
    const History expected = train(options, *staged), found = train(options, *nccl);
    EXPECT_EQ(found.losses, expected.losses);
    EXPECT_EQ(found.norms, expected.norms);
    EXPECT_EQ(found.readouts, expected.readouts);
  }
}

// Passes that are this rank's alone, beside the others and with several slots and message buffers;
// of a tensor group's ranks none is.
TEST(NcclTraining, GraphsChangeNoBit) {
  const auto gpu = own_gpu();
  OperationsUnderWay operations;
  const auto nccl = make_nccl_communicator(world(), *gpu, operations);
  for (ParallelConfig layout : layouts()) {
    SCOPED_TRACE(describe(layout));
    TrainerOptions options = grid_options(Architecture::dual_path, fp32, layout);
    options.model.layers = 4;
    const auto train_with = [&](CudaGraphs graphs) {
      options.cuda_graphs = graphs;
      GridRig rig(options, *nccl, own_gpu());
      return rig.train(3);
    };
    const int launched = fake_cuda::Machine::current().num_graph_launches();
    const History expected = train_with(CudaGraphs::off);
    EXPECT_EQ(fake_cuda::Machine::current().num_graph_launches(), launched);
    const bool own = layout.tensor == 1;
    const History found = train_with(own ? CudaGraphs::on : CudaGraphs::automatic);
    EXPECT_EQ(fake_cuda::Machine::current().num_graph_launches() > launched, own);
    EXPECT_EQ(found.losses, expected.losses);
    EXPECT_EQ(found.norms, expected.norms);
    EXPECT_EQ(found.readouts, expected.readouts);
  }
}

}  // namespace
}  // namespace dualpath
