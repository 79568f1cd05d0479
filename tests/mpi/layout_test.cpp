// Any layout trains the same model. Each is held against one rank with one micro-batch, computed
// here by every rank for itself.
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "core/base/random.h"
#include "model/parameter_slices.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

constexpr std::int64_t steps = 20;

constexpr Architecture architectures[] = {Architecture::standard, Architecture::looped,
                                          Architecture::wide, Architecture::dual_path};

TrainerOptions alone_options(Architecture architecture, const NumericTypes& types) {
  return grid_options(architecture, types, {}, grid_batch);
}

void expect_relative(const std::vector<double>& actual, const std::vector<double>& expected,
                     double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], bound * std::max(1e-3, std::abs(expected[i]))) << i;
  }
}

class EveryArchitecture : public testing::TestWithParam<Architecture> {};

TEST_P(EveryArchitecture, TwentyStepsInFp64) {
  const auto self = make_self_communicator();
  const History expected = GridRig(alone_options(GetParam(), fp64), *self).train(steps);
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    SCOPED_TRACE(describe(layout));
    const History actual = GridRig(grid_options(GetParam(), fp64, layout), world()).train(steps);
    expect_relative(actual.losses, expected.losses, 1e-9);
    expect_relative(actual.norms, expected.norms, 1e-9);
    expect_relative(actual.readouts, expected.readouts, 1e-9);
  }
}

// One embedding on both ends of the pipeline.
TEST(Layout, TiedEmbeddings) {
  const auto tied = [](const ParallelConfig& layout, std::int64_t micro_batch) {
    TrainerOptions options = grid_options(Architecture::dual_path, fp64, layout, micro_batch);
    options.model.tied_embeddings = true;
    return options;
  };
  const auto self = make_self_communicator();
  const History expected = GridRig(tied({}, grid_batch), *self).train(5);
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    if (layout.schedule == Schedule::gpipe || layout.schedule == Schedule::zero_bubble) continue;
    SCOPED_TRACE(describe(layout));
    const History actual = GridRig(tied(layout, 1), world()).train(5);
    expect_relative(actual.losses, expected.losses, 1e-9);
    expect_relative(actual.norms, expected.norms, 1e-9);
  }
}

// Micro-batches larger than one sequence.
TEST_P(EveryArchitecture, AnySplitIntoMicroBatches) {
  const auto self = make_self_communicator();
  const History expected = GridRig(alone_options(GetParam(), fp64), *self).train(5);
  for (std::int64_t micro_batch = 2; micro_batch * world().size() <= grid_batch; micro_batch *= 2) {
    const History actual =
        GridRig(grid_options(GetParam(), fp64, {}, micro_batch), world()).train(5);
    expect_relative(actual.losses, expected.losses, 1e-9);
    expect_relative(actual.norms, expected.norms, 1e-9);
  }
}

INSTANTIATE_TEST_SUITE_P(Layout, EveryArchitecture, testing::ValuesIn(architectures),
                         [](const auto& info) { return enum_name(info.param); });

// What only moves waits or computes again what was thrown away changes no bit.
TEST(Layout, ScheduleOverlapAndRecomputationChangeNoBit) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (const ParallelConfig& layout : layouts_of(world().size())) {
      if (layout.schedule != Schedule::one_f_one_b || layout.zero == Zero::off) continue;
      // What an operand's type changes is the same in all layouts with a tensor axis.
      if (types.operand == DType::bf16 && layout.tensor < world().size()) continue;
      SCOPED_TRACE(name + ", " + describe(layout));
      const TrainerOptions options = grid_options(Architecture::dual_path, types, layout);
      const History expected = GridRig(options, world()).train(2);
      const auto expect_same = [&](auto change) {
        TrainerOptions changed = options;
        change(changed.parallel);
        SCOPED_TRACE(describe(changed.parallel));
        const History actual = GridRig(changed, world()).train(2);
        EXPECT_EQ(actual.losses, expected.losses);
        EXPECT_EQ(actual.norms, expected.norms);
        EXPECT_EQ(actual.readouts, expected.readouts);
      };
      expect_same([](ParallelConfig& p) { p.overlap = Overlap::on; });
      expect_same([](ParallelConfig& p) { p.recompute = Recompute::iteration; });
      expect_same([](ParallelConfig& p) { p.recompute = Recompute::layer; });
      if (layout.pipeline == 1) continue;
      expect_same([](ParallelConfig& p) { p.schedule = Schedule::gpipe; });
      expect_same([](ParallelConfig& p) { p.schedule = Schedule::zero_bubble; });
      expect_same([](ParallelConfig& p) {
        p.schedule = Schedule::zero_bubble;
        p.recompute = Recompute::layer;
        p.overlap = Overlap::on;
      });
    }
  }
}

TEST(Layout, InitialWeightsAreBitIdentical) {
  const auto self = make_self_communicator();
  const auto weights = [](GridRig& rig, Communicator& ranks) {
    const ParameterStore& parameters = rig.trainer.model().parameters();
    return assemble(owned_weights(parameters), ranks);
  };
  GridRig alone(alone_options(Architecture::dual_path, fp32), *self);
  const GlobalTensors expected = weights(alone, *self);
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    GridRig rig(grid_options(Architecture::dual_path, fp32, layout), world());
    EXPECT_EQ(weights(rig, world()), expected) << describe(layout);
  }
}

TEST(Layout, AShardedVocabularyIsHeldInParts) {
  ParallelConfig layout;
  layout.tensor = world().size();
  const auto num_parameters = [&](VocabularyLayout vocab) {
    layout.vocab = vocab;
    GridRig rig(grid_options(Architecture::looped, fp32, layout), world());
    return rig.trainer.model().parameters().num_parameters();
  };
  const TrainerOptions options = grid_options(Architecture::looped, fp32, layout);
  const std::int64_t V = options.model.vocab_size, D = options.model.hidden_size;
  const std::int64_t t = world().size(), r = world().rank();
  const std::int64_t held = V * (r + 1) / t - V * r / t;
  EXPECT_EQ(
      num_parameters(VocabularyLayout::replicated) - num_parameters(VocabularyLayout::sharded),
      2 * (V - held) * D);
}

void expect_first_step_within_the_rounding_bound(const NumericTypes& types,
                                                 Architecture architecture) {
  const RoundingBound bound = rounding_bound(types, architecture);
  const auto self = make_self_communicator();
  GridRig alone(alone_options(architecture, types), *self);
  const FirstStep expected = first_step(alone, *self);
  EXPECT_LE(distance(expected.gradient, bound.exact.gradient), bound.gradient);
  for (const ParallelConfig& layout : layouts_of(world().size())) {
    if (layout.schedule != Schedule::one_f_one_b || layout.zero == Zero::off) continue;
    SCOPED_TRACE(describe(layout));
    GridRig rig(grid_options(architecture, types, layout), world());
    const FirstStep actual = first_step(rig, world());
    EXPECT_NEAR(actual.loss, expected.loss, bound.loss);
    EXPECT_LE(distance(actual.gradient, expected.gradient), bound.gradient);
  }
}

TEST(Layout, FirstStepWithinTheRoundingBound) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (Architecture architecture : architectures) {
      SCOPED_TRACE(name + ", " + enum_name(architecture));
      expect_first_step_within_the_rounding_bound(types, architecture);
    }
  }
}

// Validation counts each target once, whatever the layout.
TEST(Layout, ValidationIsTheSame) {
  const auto self = make_self_communicator();
  const std::vector<std::uint32_t> bytes_of_token(31, 3);
  GridRig alone(alone_options(Architecture::dual_path, fp64), *self);
  alone.train(1);
  for (const std::int64_t samples : {1, 7, 8, 19}) {
    const ValidationResult expected = alone.trainer.validate(alone.source, samples, bytes_of_token);
    for (const ParallelConfig& layout : layouts_of(world().size())) {
      if (layout.zero == Zero::off || layout.schedule == Schedule::gpipe) continue;
      SCOPED_TRACE(describe(layout));
      GridRig rig(grid_options(Architecture::dual_path, fp64, layout), world());
      rig.train(1);
      const ValidationResult actual = rig.trainer.validate(rig.source, samples, bytes_of_token);
      EXPECT_NEAR(actual.loss, expected.loss, 1e-9);
      EXPECT_EQ(actual.targets, samples * grid_tokens);
      EXPECT_EQ(actual.bytes, 3 * samples * grid_tokens);
    }
  }
}

}  // namespace
}  // namespace dualpath
