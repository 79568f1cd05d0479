// NCCL passes the communicator suite, among ranks that have a GPU each. Ranks that share one it
// takes where NCCL_HOSTID, of another value on each, tells it that they are of several hosts; it
// then moves tensors through sockets.
#include "core/cuda/cuda_device.h"
#include "parallel/nccl_communicator.h"
#include "tests/mpi/communicator_suite.h"
#include "tests/mpi/lifted_communicator.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

CommunicatorRig on_gpus(std::unique_ptr<Communicator> base) {
  CommunicatorRig rig;
  rig.operations = std::make_unique<OperationsUnderWay>();
  rig.device = make_cuda_device(world().rank() % find_cuda_devices().count);
  rig.base = std::move(base);
  auto ranks = make_nccl_communicator(*rig.base, *rig.device, *rig.operations);
  rig.stream = ranks->make_stream_beside(*rig.device);
  rig.group = std::make_unique<LiftedCommunicator>(std::move(ranks), *rig.device);
  return rig;
}

std::vector<CommunicatorKind> kinds() {
  if (find_cuda_devices().count == 0) return {};
  return {{"world", [] { return on_gpus(world().split(0, 0, "whole")); }}};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorTest);
INSTANTIATE_TEST_SUITE_P(Nccl, CommunicatorTest, testing::ValuesIn(kinds()), name_of_kind);

TEST(Nccl, IsLoaded) {
  if (find_cuda_devices().count == 0) GTEST_SKIP() << "no GPU here";
  EXPECT_NE(nccl_version(), "") << "libnccl.so.2 cannot be loaded";
}

}  // namespace
}  // namespace dualpath
