// A checkpoint of any layout goes on in any other. Eight ranks; layouts of fewer take the first.
#include <cmath>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "data/checkpoint_names.h"
#include "data/checkpoint_store.h"
#include "tests/checkpoint_fixture.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

struct Layout {
  int ranks;
  ParallelConfig parallel;
};

Layout layout(std::int64_t tensor, std::int64_t data, std::int64_t pipeline, std::int64_t chunks,
              Schedule schedule, Zero zero) {
  ParallelConfig p;
  p.tensor = tensor;
  p.data = data;
  p.pipeline = pipeline;
  p.virtual_pipeline = chunks;
  p.schedule = schedule;
  p.zero = zero;
  return {static_cast<int>(tensor * data * pipeline), p};
}

const std::vector<Layout> all_layouts = {
    layout(1, 1, 1, 1, Schedule::one_f_one_b, Zero::on),
    layout(1, 3, 1, 1, Schedule::one_f_one_b, Zero::on),
    layout(2, 1, 1, 1, Schedule::one_f_one_b, Zero::on),
    layout(4, 1, 1, 1, Schedule::one_f_one_b, Zero::off),
    layout(1, 1, 4, 1, Schedule::gpipe, Zero::on),
    layout(2, 2, 2, 1, Schedule::one_f_one_b, Zero::on),
    layout(1, 2, 2, 2, Schedule::interleaved, Zero::off),
    layout(2, 1, 4, 1, Schedule::zero_bubble, Zero::on),
};

// Where the embedding is tied, what differs is how the pipeline's ends hold it.
const std::vector<Layout> tied_layouts = {all_layouts[0], all_layouts[4], all_layouts[5]};

TrainerOptions options_of(const Layout& layout, bool tied) {
  TrainerOptions o = grid_options(Architecture::dual_path, fp64, layout.parallel);
  o.model.layers = 4;
  o.model.tied_embeddings = tied;
  o.global_batch_size = 12;  // for three ranks too
  return o;
}

// The ranks that a layout takes; empty on the others. Collective among all.
std::unique_ptr<Communicator> ranks_of(const Layout& layout) {
  const bool taken = world().rank() < layout.ranks;
  std::unique_ptr<Communicator> group = world().split(taken ? 0 : 1, 0, "some");
  return taken ? std::move(group) : nullptr;
}

struct Saved {
  GlobalTensors state;
  std::vector<double> next_losses;
};

// Two steps, a checkpoint as `step`, two steps more.
std::optional<Saved> save(const Layout& layout, bool tied, const std::filesystem::path& folder,
                          std::int64_t step) {
  const std::unique_ptr<Communicator> ranks = ranks_of(layout);
  if (!ranks) return {};
  GridRig rig(options_of(layout, tied), *ranks);
  rig.train(2);
  CheckpointManifest manifest;
  manifest.step = step;
  save_checkpoint(folder, manifest, rig.trainer.state_to_save(), *ranks);
  Saved saved;
  saved.state = assemble(rig.trainer.state_to_save(), *ranks);
  saved.next_losses = rig.go_on(2).losses;
  return saved;
}

void expect_goes_on(const Layout& layout, bool tied, const Checkpoint& checkpoint,
                    const std::optional<Saved>& saved) {
  const std::unique_ptr<Communicator> ranks = ranks_of(layout);
  if (!ranks) return;
  GridRig rig(options_of(layout, tied), *ranks);
  load_slices(checkpoint, rig.trainer.state());
  rig.trainer.start(rig.source, {2, 24, 24 * grid_tokens});
  const GlobalTensors state = assemble(rig.trainer.state_to_save(), *ranks);
  const std::vector<double> losses = rig.go_on(2).losses;
  if (!saved) return;  // this rank had no part in the saving: the others compare
  EXPECT_EQ(state, saved->state);
  for (std::size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], saved->next_losses[i], 1e-9) << "step " << i + 3;
}

class Reshard : public testing::TestWithParam<bool> {};

TEST_P(Reshard, EveryLayoutGoesOnInEveryOther) {
  ASSERT_EQ(world().size(), 8);
  const bool tied = GetParam();
  const std::vector<Layout>& layouts = tied ? tied_layouts : all_layouts;
  const TemporaryFolder temporary;
  const std::filesystem::path folder = world().broadcast(temporary.path().string(), 0);
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const auto step = static_cast<std::int64_t>(i + 1);
    const std::optional<Saved> saved = save(layouts[i], tied, folder, step);
    world().barrier();
    const Checkpoint checkpoint = open_checkpoint(folder / checkpoint_name(step));
    for (const Layout& other : layouts) {
      SCOPED_TRACE(describe(layouts[i].parallel) + " in " + describe(other.parallel));
      expect_goes_on(other, tied, checkpoint, saved);
    }
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Head, Reshard, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "tied" : "own"; });

}  // namespace
}  // namespace dualpath
