// The whole model in fp64 on the reference kernels: gradients against central finite differences
// for every architecture and option, recomputation, memory and FLOPs of the dry run. On the CPU:
// gradients against those in fp64.
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "core/base/random.h"
#include "core/ops/dry_ops.h"
#include "model/counts.h"
#include "model/regularizers.h"
#include "model/resolve_config.h"
#include "tests/model_variants.h"
#include "tests/numbers.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {
namespace {

constexpr std::int64_t batch = 2;

std::unique_ptr<Device> device_for(const NumericTypes& types) {
  if (types.master == DType::f64) return std::make_unique<ReferenceDevice>();
  return make_cpu_device(1);
}

std::vector<double> read(Tensor tensor) {
  const auto numbers = [&]<class T>(const T* from) {
    return std::vector<double>(from, from + tensor.numel());
  };
  return tensor.dtype == DType::f64 ? numbers(tensor.as<double>()) : numbers(tensor.as<float>());
}

// A model with all parameters random, and one batch.
struct Rig {
  explicit Rig(const Variant& variant, Recompute recompute = Recompute::none,
               const NumericTypes& types = NumericTypes::all(DType::f64))
      : device(device_for(types)),
        stream(device->make_stream()),
        regularizers(variant.regularizers),
        model(resolve(variant.config),
              {.types = types,
               .micro_batch_size = batch,
               .recompute = recompute,
               .loss_chunk_tokens = 4},
              *device, *stream) {
    randomize();
    const CounterRng rng(5, "tokens");
    const auto vocab = static_cast<std::uint64_t>(variant.config.vocab_size);
    for (std::int64_t t = 0; t < batch * variant.config.sequence_length; ++t) {
      const auto index = static_cast<std::uint64_t>(t);
      ids.push_back(static_cast<std::int32_t>(rng.below(2 * index, vocab)));
      targets.push_back(static_cast<std::int32_t>(rng.below(2 * index + 1, vocab)));
    }
    targets[3] = -1;
  }

  // Initial values plus noise: norms, gates and biases do not stay at their neutral start.
  void randomize() {
    model.parameters().initialize(11, *device, *stream);
    std::vector<double> values = read(model.parameters().flat_values());
    std::vector<double> noise(values.size());
    CounterRng(12, "noise").normal(std::span<double>(noise), 0, 0, 0.2);
    for (std::size_t i = 0; i < noise.size(); ++i) values[i] += noise[i];
    set_values(values);
  }

  // All parameters, the gaps between them included.
  void set_values(const std::vector<double>& values) {
    const Tensor flat = model.parameters().flat_values();
    if (flat.dtype == DType::f64) {
      std::ranges::copy(values, flat.as<double>());
    } else {
      std::ranges::copy(std::vector<float>(values.begin(), values.end()), flat.as<float>());
    }
    model.refresh_operands();
  }

  RegularizerScales scales() const {
    const auto tokens = static_cast<double>(ids.size());
    return make_regularizer_scales(regularizers, model.config(), tokens, batch);
  }

  double loss_scale() const { return 1.0 / static_cast<double>(ids.size() - 1); }

  // The loss whose gradient forward_backward() accumulates.
  double loss() {
    model.zero_sums();
    model.forward_backward(ids, targets, loss_scale(), scales(), true);
    const double* sums = model.sums().as<double>();
    const RegularizerScales s = scales();
    double total = loss_scale() * sums[StepSums::loss] + s.entropy * sums[StepSums::gate_entropy] +
                   s.balance * sums[StepSums::gate_balance];
    for (std::int64_t layer = 0; layer < model.config().layers; ++layer) {
      if (!model.stages()[0].layers()[static_cast<std::size_t>(layer)].has_router()) continue;
      total += s.ponder *
               sums[StepSums::first_readout + layer * num_readouts + readout_expected_iterations];
    }
    return total;
  }

  std::vector<double> gradients() {
    model.zero_gradients();
    loss();
    return read(model.parameters().flat_gradients());
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  RegularizerConfig regularizers;
  Model model;
  std::vector<std::int32_t> ids, targets;
};

class ModelGradient : public testing::TestWithParam<Variant> {};

// Directional derivatives along a random direction of every parameter, and single elements.
// Central differences at h and h/2, extrapolated; their difference bounds the truncation error, and
// ε·|loss|/h the rounding.
TEST_P(ModelGradient, MatchesFiniteDifferences) {
  Rig rig(GetParam());
  const std::vector<double> gradient = rig.gradients();
  ParameterStore& store = rig.model.parameters();
  double* values = store.flat_values().as<double>();
  for (int p = 0; p < static_cast<int>(store.specs().size()); ++p) {
    const ParameterSpec& spec = store.specs()[static_cast<std::size_t>(p)];
    const auto size = static_cast<std::size_t>(spec.shape.numel());
    const auto offset = static_cast<std::size_t>(store.offset({p}));
    std::vector<double> direction(size);
    CounterRng(13, spec.name).normal(std::span<double>(direction), 0, 0, 1);
    const std::vector<double> saved(values + offset, values + offset + size);
    const auto difference = [&](double h) {
      const auto at = [&](double step) {
        for (std::size_t i = 0; i < size; ++i) values[offset + i] = saved[i] + step * direction[i];
        return rig.loss();
      };
      const double slope = (at(h) - at(-h)) / (2 * h);
      std::copy(saved.begin(), saved.end(), values + offset);
      return slope;
    };
    double norm = 0, expected = 0;
    for (std::size_t i = 0; i < size; ++i) {
      expected += gradient[offset + i] * direction[i];
      norm += direction[i] * direction[i];
    }
    const double h = 2e-3 / std::sqrt(norm);
    const double coarse = difference(h), fine = difference(h / 2);
    const double extrapolated = (4 * fine - coarse) / 3;
    const double rounding = 1e-13 * rig.loss() / h;  // ~500 ε: the loss sums some hundred terms
    const double truncation = std::abs(fine - coarse) * 0.05;
    EXPECT_NEAR(expected, extrapolated, truncation + rounding) << spec.name;
    // With one iteration the router's mass cancels.
    const bool unused =
        GetParam().config.deep.iterations == 1 && spec.name.find("router") != spec.name.npos;
    EXPECT_EQ(expected == 0, unused) << spec.name;
  }
}

TEST_P(ModelGradient, RecomputationGivesTheSameBits) {
  std::vector<Numbers> all = cpu_numbers();
  all.push_back({"fp64", NumericTypes::all(DType::f64)});
  for (const auto& [name, types] : all) {
    Rig none(GetParam(), Recompute::none, types);
    const std::vector<double> kept = none.gradients();
    for (Recompute recompute : {Recompute::iteration, Recompute::layer}) {
      Rig rig(GetParam(), recompute, types);
      EXPECT_EQ(rig.gradients(), kept) << name << ", " << enum_name(recompute);
      EXPECT_LT(rig.model.activation_memory().stash_bytes,
                none.model.activation_memory().stash_bytes);
    }
  }
}

// The norm of each parameter's part of `a - b`, two flat buffers.
std::vector<double> distances(const ParameterStore& store, const std::vector<double>& a,
                              const std::vector<double>& b) {
  std::vector<double> norms;
  for (int p = 0; p < static_cast<int>(store.specs().size()); ++p) {
    const auto begin = static_cast<std::size_t>(store.offset({p}));
    const auto end = begin + static_cast<std::size_t>(store.value({p}).numel());
    double squares = 0;
    for (std::size_t i = begin; i < end; ++i) squares += (a[i] - b[i]) * (a[i] - b[i]);
    norms.push_back(std::sqrt(squares));
  }
  return norms;
}

// How far each parameter's gradient moves when all parameters change by ±1 relatively, the signs
// drawn at random: the root mean square of `draws` such changes, from small ones in fp64.
std::vector<double> sensitivities(const Variant& variant, const std::vector<double>& values) {
  constexpr double probe = 0x1p-30;
  constexpr int draws = 4;
  Rig rig(variant);
  rig.set_values(values);
  const std::vector<double> gradient = rig.gradients();
  std::vector<double> squares(rig.model.parameters().specs().size());
  for (int draw = 0; draw < draws; ++draw) {
    const CounterRng signs(static_cast<std::uint64_t>(draw), "signs");
    std::vector<double> changed = values;
    for (std::size_t i = 0; i < changed.size(); ++i) {
      changed[i] *= signs.bits(i) & 1 ? 1 + probe : 1 - probe;
    }
    rig.set_values(changed);
    const auto moved = distances(rig.model.parameters(), rig.gradients(), gradient);
    for (std::size_t p = 0; p < moved.size(); ++p) squares[p] += moved[p] * moved[p] / draws;
  }
  for (double& square : squares) square = std::sqrt(square) / probe;
  return squares;
}

// Between one matrix product and the next a number is rounded to bf16 at most four times (out of a
// product, in the residual stream or by rotation, by attention or SwiGLU, into the next product),
// which is a change of that product's weights by at most 4·2⁻⁸ relatively.
TEST_P(ModelGradient, InBf16WithinTheRoundingBound) {
  constexpr double rounding = 4 * 0x1p-8;
  Rig exact(GetParam());
  std::vector<double> values = read(exact.model.parameters().flat_values());
  for (double& value : values) value = bfloat16(static_cast<float>(value));
  exact.set_values(values);
  const std::vector<double> expected = exact.gradients();
  const std::vector<double> moves = sensitivities(GetParam(), values);
  for (const auto& [name, types] : cpu_numbers()) {
    if (types.operand != DType::bf16) continue;
    Rig rig(GetParam(), Recompute::none, types);
    rig.set_values(values);
    const ParameterStore& store = rig.model.parameters();
    const auto errors = distances(store, rig.gradients(), expected);
    for (std::size_t p = 0; p < errors.size(); ++p) {
      EXPECT_LE(errors[p], rounding * moves[p]) << name << ", " << store.specs()[p].name;
    }
  }
}

// 2·m·n·k over all matrix products, 3 × forward plus the head's: what model_flops() counts, router
// and gates aside (they are not matrix products here).
TEST_P(ModelGradient, IssuesTheMatrixProductsThatTheFormulaCounts) {
  const ResolvedModelConfig config = resolve(GetParam().config);
  const ModelOptions options{
      .types = NumericTypes::all(DType::f64), .micro_batch_size = batch, .loss_chunk_tokens = 4};
  const double tokens = static_cast<double>(batch * config.sequence_length);
  double expected = training_flops(config, AttentionFlops::not_counted);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    ModelConfig no_sublayers = config;
    no_sublayers.deep.ffn_hidden_size = no_sublayers.wide.ffn_hidden_size = 0;
    const Architecture a = config.architecture_of(layer);
    const auto k = static_cast<double>(config.deep.iterations);
    const auto d = static_cast<double>(config.hidden_size);
    const bool deep = a == Architecture::looped || a == Architecture::dual_path;
    if (deep && config.deep.combine == LoopCombine::mixture) expected -= 3 * k * 2 * (d + 1);
    if (a == Architecture::dual_path) {
      const double outputs = config.gate.mode == GateMode::fixed    ? 0
                             : config.gate.mode == GateMode::convex ? 1
                                                                    : 2;
      expected -= 3 * 2 * d * outputs;
    }
  }
  // An evaluation pass is not part of it.
  DryOps dry;
  const PassCosts flops =
      measure_activations(config, options, dry, [&] { return dry.matmul_flops(); }).passes[0];
  EXPECT_DOUBLE_EQ(flops.forward + flops.backward, tokens * expected);
}

INSTANTIATE_TEST_SUITE_P(Variants, ModelGradient, testing::ValuesIn(variants()),
                         [](const auto& info) { return info.param.name; });

// recompute=iteration: one more iteration costs one [tokens, d] tensor and two scalars per token.
TEST(ActivationMemory, GrowsWithIterationsAsDesigned) {
  ModelConfig config = tiny(Architecture::dual_path);
  config.hidden_size = 64;
  config.sequence_length = 32;
  const auto stash_bytes = [&](std::int64_t iterations, Recompute recompute) {
    config.deep.iterations = iterations;
    return measure_activations(resolve(config), {.micro_batch_size = 2, .recompute = recompute})
        .stash_bytes;
  };
  const std::size_t tokens = 64, layers = 2;
  for (std::int64_t k = 1; k < 8; ++k) {
    EXPECT_EQ(stash_bytes(k + 1, Recompute::iteration) - stash_bytes(k, Recompute::iteration),
              layers * tokens * (64 + 2) * sizeof(float));
    EXPECT_EQ(stash_bytes(k + 1, Recompute::layer), stash_bytes(k, Recompute::layer));
    EXPECT_GT(stash_bytes(k + 1, Recompute::none) - stash_bytes(k, Recompute::none),
              layers * tokens * 66 * sizeof(float));
  }
}

TEST(Model, MeasuredArenasAreExactlyFilled) {
  const Variant variant{"", tiny(Architecture::dual_path)};
  for (Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
    Rig rig(variant, recompute);
    const std::size_t before = rig.device->num_allocations();
    rig.gradients();
    EXPECT_EQ(rig.model.stash_peak_bytes(), rig.model.activation_memory().stash_bytes);
    EXPECT_EQ(rig.device->num_allocations(), before);
  }
}

TEST(Model, EvaluationEqualsTheTrainingLoss) {
  Rig rig({"", tiny(Architecture::dual_path)});
  rig.loss();
  const double trained = rig.model.sums().as<double>()[StepSums::loss];
  rig.model.zero_sums();
  rig.model.evaluate(rig.ids, rig.targets, false);
  EXPECT_EQ(rig.model.sums().as<double>()[StepSums::loss], trained);
}

TEST(Model, IsCausal) {
  Rig rig({"", tiny(Architecture::dual_path)});
  const std::size_t length = 7;
  std::vector<std::int32_t> ids(rig.ids.begin(), rig.ids.begin() + length);
  const Tensor before = rig.model.logits(ids, false);
  const std::vector<double> first(before.as<double>(), before.as<double>() + before.numel());
  ids[4] = (ids[4] + 1) % 19;
  const double* after = rig.model.logits(ids, false).as<double>();
  for (std::size_t i = 0; i < 4 * 19; ++i) EXPECT_EQ(after[i], first[i]);
  EXPECT_NE(after[4 * 19], first[4 * 19]);
  // A shorter prompt sees the same past.
  ids.resize(4);
  const double* shorter = rig.model.logits(ids, true).as<double>();
  for (std::size_t i = 0; i < 19; ++i) EXPECT_NEAR(shorter[i], first[3 * 19 + i], 1e-12);
}

}  // namespace
}  // namespace dualpath
