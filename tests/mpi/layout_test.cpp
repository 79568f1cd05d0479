// Any split of the global batch over ranks and micro-batches trains the same model. Each case is
// held against one rank with one micro-batch, computed here by every rank for itself.
#include <cmath>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "core/cpu/cpu_device.h"
#include "core/random.h"
#include "data/sample_source.h"
#include "launcher/trainer.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {
namespace {

constexpr std::int64_t global_batch = 8;
constexpr std::int64_t steps = 20;

TrainerOptions options_of(Architecture architecture, const NumericTypes& types,
                          std::int64_t micro_batch) {
  TrainerOptions o;
  o.model.architecture = {architecture};
  o.model.layers = 2;
  o.model.hidden_size = 16;
  o.model.attention_heads = 2;
  o.model.sequence_length = 12;
  o.model.vocab_size = 31;
  o.model.deep.iterations = 3;
  o.model.deep.ffn_hidden_size = 12;
  o.model.wide.ffn_hidden_size = 20;
  o.model.deep.gain_init = o.model.wide.gain_init = 0.5;
  o.model.init_std = 0.2;
  o.model = resolve(o.model);
  o.optimizer.lr = 1e-2;
  o.optimizer.warmup_steps = 5;
  o.regularizers = {.ponder = 0.01, .gate_entropy = 0.01, .gate_balance = 0.1};
  o.types = types;
  o.global_batch_size = global_batch;
  o.micro_batch_size = micro_batch;
  o.loss_chunk_tokens = 7;
  o.total_steps = steps;
  return o;
}

constexpr NumericTypes fp64 = NumericTypes::all(DType::f64);
constexpr NumericTypes fp32;

std::unique_ptr<Device> device_for(const NumericTypes& types) {
  if (types.master == DType::f64) return std::make_unique<ReferenceDevice>();
  return make_cpu_device(1);
}

struct Rig {
  Rig(const TrainerOptions& options, Communicator& ranks)
      : device(device_for(options.types)),
        stream(device->make_stream()),
        source(9, static_cast<std::uint64_t>(options.model.vocab_size),
               options.model.sequence_length),
        trainer(options, *device, *stream, ranks) {
    trainer.initialize();
  }
  Tensor values() { return trainer.model().parameters().flat_values(); }

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  MockTokens source;
  Trainer trainer;
};

struct History {
  std::vector<double> losses, norms, readouts;
};

History train(Rig& rig, std::int64_t count) {
  History history;
  rig.trainer.start(rig.source, {});
  for (std::int64_t i = 0; i < count; ++i) {
    const StepResult result = rig.trainer.step({});
    history.losses.push_back(result.loss);
    history.norms.push_back(result.grad_norm);
    history.readouts.insert(history.readouts.end(), result.readouts.begin(), result.readouts.end());
  }
  return history;
}

void expect_relative(const std::vector<double>& actual, const std::vector<double>& expected,
                     double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], bound * std::max(1e-3, std::abs(expected[i]))) << i;
  }
}

constexpr Architecture architectures[] = {Architecture::standard, Architecture::looped,
                                          Architecture::wide, Architecture::dual_path};

TEST(Layout, TwentyStepsInFp64) {
  for (Architecture architecture : architectures) {
    const auto self = make_self_communicator();
    Rig alone(options_of(architecture, fp64, global_batch), *self);
    const History expected = train(alone, steps);
    for (std::int64_t micro_batch = 1; micro_batch * world().size() <= global_batch;
         micro_batch *= 2) {
      Rig rig(options_of(architecture, fp64, micro_batch), world());
      const History actual = train(rig, steps);
      expect_relative(actual.losses, expected.losses, 1e-9);
      expect_relative(actual.norms, expected.norms, 1e-9);
      expect_relative(actual.readouts, expected.readouts, 1e-9);
    }
  }
}

TEST(Layout, InitialWeightsAreBitIdentical) {
  const auto self = make_self_communicator();
  Rig alone(options_of(Architecture::dual_path, fp32, global_batch), *self);
  Rig rig(options_of(Architecture::dual_path, fp32, 1), world());
  const float* a = alone.values().as<float>();
  const float* b = rig.values().as<float>();
  EXPECT_TRUE(std::equal(a, a + alone.values().numel(), b));
}

struct FirstStep {
  double loss;
  std::vector<double> gradient;
};

FirstStep first_step(Rig& rig) {
  FirstStep result;
  result.loss = train(rig, 1).losses[0];
  const Tensor g = rig.trainer.model().parameters().flat_gradients();
  for (std::int64_t i = 0; i < g.numel(); ++i) {
    result.gradient.push_back(g.dtype == DType::f64 ? g.as<double>()[i] : g.as<float>()[i]);
  }
  return result;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(squares);
}

// A matrix product of inner length n computed in precision ε is the exact product with weights
// changed by at most γ_n ≈ n·ε relatively (Higham, Accuracy and Stability, §3.5), n the longest
// reduction: the tokens of the batch. In bf16, sums are in fp32, but a number is rounded to 2⁻⁸ at
// most four times between one product and the next. So two orders of summation differ by at most
// what two such changes of all weights do; what a relative change does is measured in fp64.
void expect_first_step_within_the_rounding_bound(const NumericTypes& types,
                                                 Architecture architecture) {
  constexpr double probe = 0x1p-30;
  constexpr double n = global_batch * 12;
  const double rounding = n * 0x1p-24 + (types.operand == DType::bf16 ? 4 * 0x1p-8 : 0);
  const auto self = make_self_communicator();
  Rig exact(options_of(architecture, fp64, global_batch), *self);
  const FirstStep at_weights = first_step(exact);
  Rig changed(options_of(architecture, fp64, global_batch), *self);
  const CounterRng signs(3, "signs");
  for (std::int64_t i = 0; i < changed.values().numel(); ++i) {
    const bool up = signs.bits(static_cast<std::uint64_t>(i)) & 1;
    changed.values().as<double>()[i] *= up ? 1 + probe : 1 - probe;
  }
  const FirstStep nearby = first_step(changed);
  const double scale = 2 * rounding / probe;
  const double gradient_bound = scale * distance(at_weights.gradient, nearby.gradient);
  // The loss is itself a sum over the tokens.
  const double loss_bound =
      scale * std::abs(at_weights.loss - nearby.loss) + 2 * n * 0x1p-24 * at_weights.loss;

  Rig alone(options_of(architecture, types, global_batch), *self);
  const FirstStep expected = first_step(alone);
  EXPECT_LE(distance(expected.gradient, at_weights.gradient), gradient_bound);
  for (std::int64_t micro_batch = 1; micro_batch * world().size() <= global_batch;
       micro_batch *= 2) {
    Rig rig(options_of(architecture, types, micro_batch), world());
    const FirstStep actual = first_step(rig);
    EXPECT_NEAR(actual.loss, expected.loss, loss_bound);
    EXPECT_LE(distance(actual.gradient, expected.gradient), gradient_bound);
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

}  // namespace
}  // namespace dualpath
