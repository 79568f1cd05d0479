// The communicators for host memory pass the suite, and promise more.
#include "core/cpu/cpu_device.h"
#include "core/device/threaded_stream.h"
#include "parallel/staged_communicator.h"
#include "tests/allocation_counter.h"
#include "tests/mpi/communicator_suite.h"
#include "tests/mpi/delayed_communicator.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

CommunicatorRig with_stream(std::unique_ptr<Communicator> group, bool threaded) {
  CommunicatorRig rig;
  rig.group = std::move(group);
  if (threaded)
    rig.stream = std::make_unique<ThreadedStream>();
  else
    rig.stream = std::make_unique<InlineStream>();
  return rig;
}

// A world, moved through another memory in small pieces. The host could read this device's: the
// training steps of far_training_test.cpp are on one where it cannot.
CommunicatorRig staged(bool threaded) {
  auto whole = world().split(0, 0, "whole");
  auto device = make_cpu_device(1);
  CommunicatorRig rig = with_stream(make_staged_communicator(*whole, *device, 1 << 20), threaded);
  rig.base = std::move(whole);
  rig.device = std::move(device);
  return rig;
}

// `half`: the ranks that are even or odd as this one is.
std::vector<CommunicatorKind> kinds() {
  std::vector<CommunicatorKind> kinds;
  for (const bool threaded : {false, true}) {
    const std::string suffix = threaded ? "_threaded" : "_inline";
    kinds.push_back(
        {"self" + suffix, [=] { return with_stream(make_self_communicator(), threaded); }});
    kinds.push_back(
        {"world" + suffix, [=] { return with_stream(world().split(0, 0, "whole"), threaded); }});
    kinds.push_back({"half" + suffix, [=] {
                       return with_stream(world().split(world().rank() % 2, 0, "half"), threaded);
                     }});
    kinds.push_back({"staged" + suffix, [=] { return staged(threaded); }});
  }
  kinds.push_back({"delayed", [] {
                     return with_stream(
                         std::make_unique<DelayedCommunicator>(world().split(0, 0, "whole"),
                                                               std::chrono::microseconds(50)),
                         true);
                   }});
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Host, CommunicatorTest, testing::ValuesIn(kinds()), name_of_kind);

// What holds in host memory beyond that.
class HostCommunicatorTest : public CommunicatorTest {};
INSTANTIATE_TEST_SUITE_P(Host, HostCommunicatorTest, testing::ValuesIn(kinds()), name_of_kind);

TEST_P(HostCommunicatorTest, ReduceScatterAddsInOrderOfRank) {
  const std::int64_t part_size = piece<float> + 5, whole_size = part_size * size();
  std::vector<float> whole(static_cast<std::size_t>(whole_size)), part(part_size);
  for (std::int64_t i = 0; i < whole_size; ++i)
    whole[static_cast<std::size_t>(i)] = value_of_any_size(rank(), i);
  group().reduce_scatter(tensor_of(part), tensor_of(whole), stream());
  stream().synchronize();
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < part_size; ++i) {
    float expected = value_of_any_size(0, rank() * part_size + i);
    for (int r = 1; r < size(); ++r) expected += value_of_any_size(r, rank() * part_size + i);
    wrong += part[static_cast<std::size_t>(i)] != expected;
  }
  EXPECT_EQ(wrong, 0);
}

TEST_P(HostCommunicatorTest, CallsAllocateNothingAfterTheFirst) {
  const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();
  const std::int64_t length = piece<float> + 1;
  std::vector<float> part(length), whole(static_cast<std::size_t>(length * size()));
  const auto all_kinds = [&] {
    group().all_reduce(tensor_of(part), Reduce::sum, stream());
    group().all_gather(tensor_of(whole), tensor_of(part), stream());
    group().reduce_scatter(tensor_of(part), tensor_of(whole), stream());
    group().broadcast(tensor_of(part), 0, stream());
    const Transfer transfers[] = {{tensor_of(part), next, true},
                                  {tensor_of(whole).slice(0, length), before, false}};
    if (size() > 1) group().exchange(transfers, stream());
    stream().synchronize();
  };
  all_kinds();
  const std::uint64_t allocations = num_heap_allocations();
  all_kinds();
  EXPECT_EQ(num_heap_allocations(), allocations);
}

}  // namespace
}  // namespace dualpath
