// What a step sends is what the formulas say, to the byte, on every rank.
#include <gtest/gtest.h>
#include <string>

#include "launcher/plan/traffic_plan.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

TrainerOptions resolved_options(Architecture architecture, const NumericTypes& types,
                                const ParallelConfig& layout, std::int64_t micro_batch = 1) {
  return grid_options(architecture, types, resolve(layout, world().size()), micro_batch);
}

std::string text(const GridTraffic& traffic) {
  std::string lines;
  for (std::size_t group = 0; group < traffic.groups.size(); ++group) {
    for (int i = 0; i < num_collectives; ++i) {
      const auto kind = static_cast<Collective>(i);
      const Traffic::Count& count = traffic.groups[group][kind];
      if (count.calls == 0) continue;
      lines += fmt::format("{} {}: {} calls, {} bytes\n", GridTraffic::name(group), name_of(kind),
                           count.calls, count.bytes);
    }
  }
  return lines;
}

GridTraffic measured(const TrainerOptions& options) {
  GridRig rig(options, world());
  rig.trainer.start(rig.source, {});
  return rig.trainer.step({}).traffic;
}

void expect_as_predicted(const TrainerOptions& options) {
  EXPECT_EQ(text(measured(options)), text(predict_traffic(options, world().rank())));
}

// What is recomputed makes a difference on the tensor axis only, and the stream's type between
// stages.
bool is_a_case(const NumericTypes& types, const ParallelConfig& layout, Recompute recompute) {
  if (types.stream == DType::bf16 && layout.pipeline == 1) return false;
  if (recompute == Recompute::none) return true;
  return layout.tensor > 1 && layout.schedule == Schedule::one_f_one_b && layout.zero == Zero::on;
}

class EveryArchitecture : public testing::TestWithParam<Architecture> {};

TEST_P(EveryArchitecture, SendsWhatTheFormulasSay) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (const ParallelConfig& layout : layouts_of(world().size())) {
      for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
        if (!is_a_case(types, layout, recompute)) continue;
        ParallelConfig changed = layout;
        changed.recompute = recompute;
        SCOPED_TRACE(name + ", " + describe(changed));
        expect_as_predicted(resolved_options(GetParam(), types, changed));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Traffic, EveryArchitecture,
                         testing::Values(Architecture::standard, Architecture::looped,
                                         Architecture::wide, Architecture::dual_path),
                         [](const auto& info) { return enum_name(info.param); });

// Where schedules, messages and buckets differ.
TEST(Traffic, OfTiedEmbeddingsOverlapAndLargerMicroBatches) {
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    SCOPED_TRACE(describe(layout));
    TrainerOptions options = resolved_options(Architecture::dual_path, fp32, layout);
    options.model.tied_embeddings = true;
    expect_as_predicted(options);
    options.parallel.overlap = Overlap::on;
    expect_as_predicted(options);
    const std::int64_t readers = options.parallel.tensor * options.parallel.data;
    options.micro_batch_size = grid_batch / readers;
    if (options.parallel.pipeline == 1) expect_as_predicted(options);
  }
}

// Each step sends the same.
TEST(Traffic, IsThatOfEveryStep) {
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    if (layout.schedule != Schedule::one_f_one_b) continue;
    SCOPED_TRACE(describe(layout));
    GridRig rig(resolved_options(Architecture::dual_path, fp32, layout), world());
    rig.trainer.start(rig.source, {});
    const std::string first = text(rig.trainer.step({}).traffic);
    rig.trainer.validate(rig.source, 3, {});
    for (int step = 0; step < 2; ++step) EXPECT_EQ(text(rig.trainer.step({}).traffic), first);
  }
}

// All ranks learn it, and a stage waits where there are several.
TEST(Traffic, IdleTimeIsThatOfThePipeline) {
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    SCOPED_TRACE(describe(layout));
    GridRig rig(resolved_options(Architecture::dual_path, fp32, layout), world());
    rig.trainer.start(rig.source, {});
    const double idle = rig.trainer.step({}).pipeline_idle;
    if (layout.pipeline == 1) {
      EXPECT_EQ(idle, 0);
    } else {
      EXPECT_TRUE(0 < idle && idle < 1) << idle;
    }
    EXPECT_EQ(world().broadcast(fmt::format("{:a}", idle), 0), fmt::format("{:a}", idle));
  }
}

// The loop's weights are sent once a step, and the wide path once a micro-batch.
TEST(Traffic, DoesNotGrowWithIterations) {
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    SCOPED_TRACE(describe(layout));
    TrainerOptions options = resolved_options(Architecture::dual_path, fp32, layout);
    options.model.deep.iterations = 1;
    const GridTraffic once = measured(options);
    options.model.deep.iterations = 4;
    EXPECT_EQ(text(measured(options)), text(once));
  }
}

// Gradients are summed over ranks once a step, however many micro-batches they are made of.
TEST(Traffic, OfGradientsDoesNotGrowWithMicroBatches) {
  ParallelConfig layout;
  const TrainerOptions one =
      resolved_options(Architecture::dual_path, fp32, layout, grid_batch / world().size());
  const TrainerOptions many = resolved_options(Architecture::dual_path, fp32, layout, 1);
  EXPECT_EQ(text(measured(many)), text(measured(one)));
}

}  // namespace
}  // namespace dualpath
