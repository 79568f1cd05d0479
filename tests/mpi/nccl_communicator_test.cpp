// The NCCL communicator passes the suite, on fake GPUs; what it refuses, and how it fails.
#include "parallel/nccl_communicator.h"

#include <chrono>
#include <future>
#include <gmock/gmock.h>

#include "core/cuda/cuda_device.h"
#include "parallel/watchdog.h"
#include "tests/expect_error.h"
#include "tests/fake_cuda/machine.h"
#include "tests/fake_nccl/fake_nccl.h"
#include "tests/mpi/communicator_suite.h"
#include "tests/mpi/lifted_communicator.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

// The rank's own GPU.
std::unique_ptr<Device> own_gpu() {
  return make_cuda_device(world().rank());
}

// Every test gives back what it took.
class NothingIsLeft final : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo&) override {
    EXPECT_EQ(fake_nccl::num_communicators(), 0);
    EXPECT_THAT(fake_cuda::Machine::current().leaks(), testing::IsEmpty());
  }
};
[[maybe_unused]] const bool is_listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new NothingIsLeft);  // gtest deletes it
  return true;
}();

CommunicatorRig on_gpus(std::unique_ptr<Communicator> base) {
  CommunicatorRig rig;
  rig.operations = std::make_unique<OperationsUnderWay>();
  rig.device = own_gpu();
  rig.base = std::move(base);
  auto ranks = make_nccl_communicator(*rig.base, *rig.device, *rig.operations);
  rig.stream = ranks->make_stream_beside(*rig.device);
  rig.group = std::make_unique<LiftedCommunicator>(std::move(ranks), *rig.device);
  return rig;
}

CommunicatorKind kind(const char* name, std::function<std::unique_ptr<Communicator>()> base) {
  return {name, [base] { return on_gpus(base()); }};
}

INSTANTIATE_TEST_SUITE_P(
    Nccl, CommunicatorTest,
    testing::Values(kind("self", [] { return make_self_communicator(); }),
                    kind("world", [] { return world().split(0, 0, "whole"); }),
                    kind("half", [] { return world().split(world().rank() % 2, 0, "half"); })),
    name_of_kind);

class NcclTest : public testing::Test {
 protected:
  Tensor tensor(std::int64_t numel) const { return {memory_.data(), DType::f32, {numel}}; }

  OperationsUnderWay operations_;
  std::unique_ptr<Device> device_ = own_gpu();
  std::unique_ptr<Communicator> base_ = world().split(0, 0, "whole");
  Buffer memory_ = device_->allocate(1 << 20);
};

TEST_F(NcclTest, NeedsAGpuForEachRank) {
  EXPECT_EQ(nccl_obstacle(world(), *device_), "");
  EXPECT_THAT(nccl_version(), testing::ContainsRegex("^[0-9]+\\.[0-9]+\\.[0-9]+$"));
  if (world().size() == 1) return;
  const auto shared = make_cuda_device(world().rank() / 2);
  EXPECT_THAT(nccl_obstacle(world(), *shared),
              testing::MatchesRegex("ranks 0 and 1 share GPU 0000:00:00.0 of .*"));
  EXPECT_THAT(
      error_of(ExitCode::peer, [&] { make_nccl_communicator(*base_, *shared, operations_); }),
      testing::HasSubstr("Duplicate GPU detected : rank 0 and rank 1"));
}

// Where a rank issues an operation, and the others nothing, it is found under way until they do.
TEST_F(NcclTest, OperationsAreUnderWayUntilTheGpuHasDoneThem) {
  if (world().size() == 1) return;
  const auto ranks = make_nccl_communicator(*base_, *device_, operations_);
  const auto stream = ranks->make_stream_beside(*device_);
  if (world().rank() > 0) {
    world().barrier();
    ranks->all_reduce(tensor(5), Reduce::sum, *stream);
  } else {
    ranks->all_reduce(tensor(5), Reduce::sum, *stream);
    EXPECT_EQ(operations_.look(), "");
    const auto oldest = operations_.oldest();
    ASSERT_TRUE(oldest);
    EXPECT_EQ(oldest->group, "whole");
    EXPECT_EQ(oldest->kind, "all_reduce");
    EXPECT_EQ(oldest->bytes, 20);
    world().barrier();
  }
  stream->synchronize();
  EXPECT_EQ(operations_.look(), "");
  EXPECT_FALSE(operations_.oldest());
}

// More of them than are kept count of at once.
TEST_F(NcclTest, ManyOperationsGoUnderWayAtOnce) {
  const auto ranks = make_nccl_communicator(*base_, *device_, operations_);
  const auto stream = ranks->make_stream_beside(*device_);
  for (int i = 0; i < 600; ++i) ranks->all_reduce(tensor(1), Reduce::max, *stream);
  stream->synchronize();
  EXPECT_EQ(operations_.look(), "");
  EXPECT_FALSE(operations_.oldest());
  EXPECT_TRUE(world().size() == 1 || ranks->busy_ms() > 0);
}

// As the host waits for an operation that never ends; an exception ends it.
TEST_F(NcclTest, WatchdogFindsOperationsThatHang) {
  if (world().size() == 1) return;
  fake_nccl::hang_after(0);
  std::promise<OperationDescription> told;
  try {
    const auto stream = device_->make_stream();
    const auto ranks = make_nccl_communicator(*base_, *device_, operations_);
    const Watchdog watchdog(operations_, std::chrono::milliseconds(50),
                            [&](const OperationDescription& o) { told.set_value(o); });
    ranks->broadcast(tensor(7), 0, *stream);
    const OperationDescription found = told.get_future().get();
    EXPECT_EQ(found.failure, "");
    EXPECT_EQ(found.kind, "broadcast");
    EXPECT_EQ(found.bytes, 28);
    throw std::runtime_error("the run ends");
  } catch (const std::runtime_error&) {
  }
  fake_nccl::work_again();
}

TEST_F(NcclTest, WatchdogTellsWhatTheLibraryFindsOut) {
  if (world().size() == 1) return;
  fake_nccl::lose_a_rank_after(0);
  std::promise<OperationDescription> told;
  try {
    const auto stream = device_->make_stream();
    const auto ranks = make_nccl_communicator(*base_, *device_, operations_);
    const Watchdog watchdog(operations_, std::chrono::seconds(0),
                            [&](const OperationDescription& o) { told.set_value(o); });
    ranks->all_gather(tensor(world().size()),
                      tensor(world().size()).slice(world().rank(), world().rank() + 1), *stream);
    const OperationDescription found = told.get_future().get();
    EXPECT_THAT(found.failure,
                testing::StartsWith("whole: NCCL has failed: remote process exited"));
    EXPECT_EQ(found.kind, "all_gather");
    throw std::runtime_error("the run ends");
  } catch (const std::runtime_error&) {
  }
  fake_nccl::work_again();
}

}  // namespace
}  // namespace dualpath
