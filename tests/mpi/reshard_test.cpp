// A checkpoint of any layout goes on in any other. Eight ranks; layouts of fewer take the first.
#include <cmath>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"
#include "tests/checkpoint_fixture.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

struct Layout {
  int ranks;
  ParallelConfig parallel;
};

struct Axes {
  std::int64_t tensor, data, pipeline, chunks;
};

Layout layout(const Axes& axes, Schedule schedule, Zero zero,
              VocabularyLayout vocab = VocabularyLayout::replicated) {
  ParallelConfig p;
  p.tensor = axes.tensor;
  p.data = axes.data;
  p.pipeline = axes.pipeline;
  p.virtual_pipeline = axes.chunks;
  p.schedule = schedule;
  p.zero = zero;
  p.vocab = vocab;
  return {static_cast<int>(axes.tensor * axes.data * axes.pipeline), p};
}

const std::vector<Layout> all_layouts = {
    layout({1, 1, 1, 1}, Schedule::one_f_one_b, Zero::on),
    layout({1, 3, 1, 1}, Schedule::one_f_one_b, Zero::on),
    layout({2, 1, 1, 1}, Schedule::one_f_one_b, Zero::on),
    layout({4, 1, 1, 1}, Schedule::one_f_one_b, Zero::off, VocabularyLayout::sharded),
    layout({1, 1, 4, 1}, Schedule::gpipe, Zero::on),
    layout({2, 2, 2, 1}, Schedule::one_f_one_b, Zero::on, VocabularyLayout::sharded),
    layout({1, 2, 2, 2}, Schedule::interleaved, Zero::off),
    layout({2, 1, 4, 1}, Schedule::zero_bubble, Zero::on),
};

// Some, for what differs only at a pipeline's ends or in how a rank holds its values.
const std::vector<Layout> some_layouts = {all_layouts[0], all_layouts[1], all_layouts[4],
                                          all_layouts[5]};

struct Kind {
  std::string name;
  NumericTypes types;
  bool tied;
  const std::vector<Layout>& layouts;
};

std::vector<Kind> kinds() {
  std::vector<Kind> kinds = {{"own_head", fp64, false, all_layouts},
                             {"tied_head", fp64, true, some_layouts}};
  for (const auto& [name, types] : cpu_numbers()) {
    if (name == "bf16") kinds.push_back({name, types, false, some_layouts});
  }
  return kinds;
}

TrainerOptions options_of(const Layout& layout, const Kind& kind) {
  TrainerOptions o = grid_options(Architecture::dual_path, kind.types, layout.parallel);
  o.model.layers = 4;
  o.model.tied_embeddings = kind.tied;
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
std::optional<Saved> save(const Layout& layout, const Kind& kind,
                          const std::filesystem::path& folder, std::int64_t step) {
  const std::unique_ptr<Communicator> ranks = ranks_of(layout);
  if (!ranks) return {};
  GridRig rig(options_of(layout, kind), *ranks);
  rig.train(2);
  CheckpointManifest manifest;
  manifest.step = step;
  save_checkpoint(folder, manifest, rig.trainer.state_to_save(), *ranks);
  Saved saved;
  saved.state = assemble(rig.trainer.state_to_save(), *ranks);
  saved.next_losses = rig.go_on(2).losses;
  return saved;
}

void expect_goes_on(const Layout& layout, const Kind& kind, const Checkpoint& checkpoint,
                    const std::optional<Saved>& saved, bool same_layout) {
  const std::unique_ptr<Communicator> ranks = ranks_of(layout);
  if (!ranks) return;
  GridRig rig(options_of(layout, kind), *ranks);
  load_slices(checkpoint, rig.trainer.state());
  rig.trainer.start(rig.source, {2, 24, 24 * grid_tokens});
  const GlobalTensors state = assemble(rig.trainer.state_to_save(), *ranks);
  const std::vector<double> losses = rig.go_on(2).losses;
  if (!saved) return;  // this rank had no part in the saving: the others compare
  EXPECT_EQ(state, saved->state);
  if (same_layout) {
    EXPECT_EQ(losses, saved->next_losses);
  } else if (kind.types.master == DType::f64) {
    for (std::size_t i = 0; i < losses.size(); ++i)
      EXPECT_NEAR(losses[i], saved->next_losses[i], 1e-9) << "step " << i + 3;
  }
}

class Reshard : public testing::TestWithParam<Kind> {};

TEST_P(Reshard, EveryLayoutGoesOnInEveryOther) {
  ASSERT_EQ(world().size(), 8);
  const Kind& kind = GetParam();
  const std::vector<Layout>& layouts = kind.layouts;
  const TemporaryFolder temporary;
  const std::filesystem::path folder = world().broadcast(temporary.path().string(), 0);
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const auto step = static_cast<std::int64_t>(i + 1);
    const std::optional<Saved> saved = save(layouts[i], kind, folder, step);
    world().barrier();
    const Checkpoint checkpoint = open_checkpoint(folder / checkpoint_name(step));
    for (const Layout& other : layouts) {
      SCOPED_TRACE(describe(layouts[i].parallel) + " in " + describe(other.parallel));
      expect_goes_on(other, kind, checkpoint, saved, &other == &layouts[i]);
    }
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Kinds, Reshard, testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dualpath
