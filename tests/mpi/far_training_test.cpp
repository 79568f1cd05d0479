// Ranks whose tensors lie where the host cannot touch them, and whose kernels run late, train as
// others do, bit by bit: the operations among them go through host memory.
#include <gtest/gtest.h>

#include "core/cpu/cpu_device.h"
#include "parallel/staged_communicator.h"
#include "tests/far_device/far_device.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

// Three steps and a validation.
History train(GridRig& rig) {
  History history = rig.train(3);
  history.losses.push_back(rig.trainer.validate(rig.source, 5, {}).loss);
  return history;
}

History train_far(const TrainerOptions& options) {
  auto device = std::make_unique<FarDevice>(make_cpu_device(1));
  const auto ranks = make_staged_communicator(world(), *device, 1 << 16);
  GridRig rig(options, *ranks, std::move(device));
  return train(rig);
}

TEST(FarTraining, EveryLayoutTrainsBitEqually) {
  for (ParallelConfig layout : layouts_of(world().size())) {
    for (const Overlap overlap : {Overlap::off, Overlap::on}) {
      layout.overlap = overlap;
      SCOPED_TRACE(describe(layout));
      const TrainerOptions options = grid_options(Architecture::dual_path, fp32, layout);
      GridRig near(options, world());
      const History expected = train(near), far = train_far(options);
      EXPECT_EQ(far.losses, expected.losses);
      EXPECT_EQ(far.norms, expected.norms);
      EXPECT_EQ(far.readouts, expected.readouts);
    }
  }
}

}  // namespace
}  // namespace dualpath
