// The communicators for host memory.
#include "core/cpu/cpu_device.h"
#include "core/threaded_stream.h"
#include "parallel/staged_communicator.h"
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
  kinds.push_back({.name = "delayed",
                   .make =
                       [] {
                         return with_stream(
                             std::make_unique<DelayedCommunicator>(world().split(0, 0, "whole"),
                                                                   std::chrono::microseconds(50)),
                             true);
                       },
                   .measures = false});
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Host, CommunicatorTest, testing::ValuesIn(kinds()), name_of_kind);

}  // namespace
}  // namespace dualpath
