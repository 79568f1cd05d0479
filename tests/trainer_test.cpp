// One rank's trainer: resuming, allocation, numerics, learning.
#include "launcher/train/trainer.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/cpu/cpu_device.h"
#include "tests/allocation_counter.h"
#include "tests/numbers.h"
#include "tests/small_training.h"

namespace dualpath {
namespace {

struct Rig {
  explicit Rig(const TrainerOptions& options = small_options())
      : device(make_cpu_device(2)),
        stream(device->make_stream()),
        ranks(make_self_communicator()),
        trainer(options, *device, *stream, *ranks) {}

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Communicator> ranks;
  CountingTokens source;
  Trainer trainer;
};

using State = std::map<std::string, std::vector<float>>;

State copy_state(const Trainer& trainer) {
  State state;
  for (const TensorSlice& slice : trainer.state()) {
    const auto* values = static_cast<const float*>(slice.data);
    state[slice.name] = {values, values + (slice.end - slice.begin)};
  }
  return state;
}

void restore(const State& state, Trainer& trainer) {
  for (const TensorSlice& slice : trainer.state()) {
    const std::vector<float>& values = state.at(slice.name);
    std::memcpy(slice.data, values.data(), values.size() * sizeof(float));
  }
}

// In a new trainer, and in one that has gone on: what is computed from the weights follows them.
TEST(Trainer, ResumedTrainingIsBitEqual) {
  for (const auto& [name, types] : cpu_numbers()) {
    SCOPED_TRACE(name);
    Rig whole(small_options(types));
    whole.trainer.initialize();
    whole.trainer.start(whole.source, {});
    State halfway;
    TrainingProgress progress;
    std::vector<double> losses;
    for (int step = 0; step < 20; ++step) {
      if (step == 10) {
        halfway = copy_state(whole.trainer);
        progress = whole.trainer.progress();
      }
      losses.push_back(whole.trainer.step({}).loss);
    }
    const State end = copy_state(whole.trainer);
    Rig fresh(small_options(types));
    for (Rig* rig : {&fresh, &whole}) {
      restore(halfway, rig->trainer);
      rig->trainer.start(rig->source, progress);
      for (std::size_t step = 10; step < 20; ++step) {
        EXPECT_EQ(rig->trainer.step({}).loss, losses[step]) << step;
      }
      EXPECT_EQ(copy_state(rig->trainer), end);
    }
  }
}

TEST(Trainer, StateHoldsEveryParameterAndMomentOnce) {
  Rig rig;
  std::int64_t elements = 0;
  for (const TensorSlice& slice : rig.trainer.state_to_save()) elements += slice.end - slice.begin;
  EXPECT_EQ(elements, 3 * rig.trainer.model().parameters().num_parameters());
}

void expect_no_allocation(const TrainerOptions& options) {
  Rig rig(options);
  rig.trainer.initialize();
  rig.trainer.start(rig.source, {});
  rig.trainer.step({});
  const std::size_t buffers = rig.device->num_allocations();
  const std::uint64_t allocations = num_heap_allocations();
  for (int step = 0; step < 3; ++step) rig.trainer.step({});
  EXPECT_EQ(num_heap_allocations(), allocations);
  EXPECT_EQ(rig.device->num_allocations(), buffers);
}

TEST(Trainer, AStepAllocatesNothingAfterTheFirst) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
      SCOPED_TRACE(name + ", recompute " + enum_name(recompute));
      TrainerOptions options = small_options(types);
      options.parallel.recompute = recompute;
      options.regularizers = {.ponder = 0.1, .gate_entropy = 0.1, .gate_balance = 0.1};
      expect_no_allocation(options);
    }
  }
}

TEST(Trainer, NotANumberStopsBeforeTheUpdate) {
  Rig rig;
  rig.trainer.initialize();
  rig.trainer.start(rig.source, {});
  rig.trainer.step({});
  ParameterStore& parameters = rig.trainer.model().parameters();
  float* weights = parameters.flat_values().as<float>();
  weights[0] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> before(weights + 1, weights + parameters.flat_size());
  try {
    for (int step = 0; step < 8; ++step) rig.trainer.step({});  // token 0 comes in one of them
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numerics);
    EXPECT_NE(std::string(error.what()).find("step 2"), std::string::npos) << error.what();
  }
  EXPECT_EQ(std::vector<float>(weights + 1, weights + parameters.flat_size()), before);
  EXPECT_EQ(rig.trainer.progress().step, 1);
}

TEST(Trainer, RequestsComeBackWithTheStep) {
  Rig rig;
  rig.trainer.initialize();
  rig.trainer.start(rig.source, {});
  EXPECT_FALSE(rig.trainer.step({}).requests.stop);
  const StepRequests both = rig.trainer.step({.stop = true, .save = true}).requests;
  EXPECT_TRUE(both.stop && both.save);
  EXPECT_FALSE(rig.trainer.step({}).requests.save);
}

// From a uniform guess, ln 64 nats, to a rule that holds without exception; in the least precise
// numbers.
TEST(Trainer, EveryArchitectureLearns) {
  for (Architecture a : {Architecture::standard, Architecture::looped, Architecture::wide,
                         Architecture::dual_path}) {
    TrainerOptions options = small_options(cpu_numbers().back().types);
    options.model.architecture = {a};
    Rig rig(options);
    rig.trainer.initialize();
    rig.trainer.start(rig.source, {});
    const double first = rig.trainer.step({}).loss;
    EXPECT_NEAR(first, std::log(64.0), 0.1);
    for (int step = 1; step < 40; ++step) rig.trainer.step({});
    const ValidationResult result = rig.trainer.validate(rig.source, 7, {});
    EXPECT_LT(result.loss, 0.5) << enum_name(a);
    EXPECT_EQ(result.targets, 7 * 24);
    EXPECT_EQ(result.bytes, 0);
  }
}

TEST(Trainer, ValidationCountsBytesAndChangesNothing) {
  Rig rig;
  rig.trainer.initialize();
  rig.trainer.start(rig.source, {});
  rig.trainer.step({});
  const State before = copy_state(rig.trainer);
  const std::vector<std::uint32_t> bytes_of_token(64, 3);
  EXPECT_EQ(rig.trainer.validate(rig.source, 5, bytes_of_token).bytes, 3 * 5 * 24);
  EXPECT_EQ(copy_state(rig.trainer), before);
}

}  // namespace
}  // namespace dualpath
