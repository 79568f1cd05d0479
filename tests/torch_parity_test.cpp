// The model against the PyTorch reference (tests/reference): logits, loss, read-outs, every
// gradient and ten AdamW steps, for every fixture.
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/cpu/cpu_device.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/regularizers.h"
#include "model/resolve_config.h"
#include "tests/fixture_file.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {
namespace {

// Every number is the end of a chain of at most 1000 operations (3 layers × 4 applications × 2
// sublayers × 20, forward and backward), each rounding sums of at most 100 terms whose errors add
// like a random walk: 1000·√100·ε relative to the array's norm.
double first_step_tolerance(DType dtype) {
  return 1e4 * (dtype == DType::f64 ? std::numeric_limits<double>::epsilon()
                                    : std::numeric_limits<float>::epsilon());
}

double norm(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

void expect_close(std::span<const double> found, std::span<const double> expected, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  std::vector<double> error(found.begin(), found.end());
  for (std::size_t i = 0; i < error.size(); ++i) error[i] -= expected[i];
  EXPECT_LE(norm(error), tolerance * norm(expected)) << what;
}

template <class Config>
Config config_of(const FixtureFile& file, const std::string& section) {
  ConfigSource source;
  source.add_text(file.metadata(section), section);
  ConfigProblems problems;
  Config config = read_config<Config>(source, problems);
  if constexpr (!std::is_same_v<Config, RegularizerConfig>) validate(config, problems);
  throw_if_any(problems, source);
  return config;
}

// A fixture's model with its weights, on one device.
class Subject {
 public:
  Subject(const FixtureFile& file, Device& device, DType dtype, std::int64_t micro_batch_size)
      : device_(device),
        stream_(device.make_stream()),
        sequences_(file.shape("ids")[1]),
        tokens_(sequences_ * file.shape("ids")[2]),
        micro_batch_size_(micro_batch_size),
        ids_(file.integers("ids")),
        targets_(file.integers("targets")),
        regularizer_(config_of<RegularizerConfig>(file, "regularizer")),
        optimizer_config_(config_of<OptimizerConfig>(file, "optimizer")),
        model_(resolve(config_of<ModelConfig>(file, "model")),
               {.types = NumericTypes::all(dtype),
                .micro_batch_size = micro_batch_size,
                .loss_chunk_tokens = 5},
               device, *stream_),
        optimizer_(optimizer_config_, model_.parameters(), false, device, *stream_),
        square_sum_(device.allocate(sizeof(double))) {
    for (const int p : indices()) write(value(p), file.reals("parameters." + name(p)));
  }

  ParameterStore& parameters() { return model_.parameters(); }
  const ModelConfig& config() const { return model_.config(); }
  std::vector<int> indices() {
    std::vector<int> all(parameters().specs().size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    return all;
  }
  const std::string& name(int p) { return parameters().specs()[static_cast<std::size_t>(p)].name; }
  Tensor value(int p) { return parameters().value({p}); }
  Tensor gradient(int p) { return parameters().gradient({p}); }

  // Of step 0, sequence after sequence.
  std::vector<double> logits() {
    std::vector<double> all;
    for (std::int64_t s = 0; s < sequences_; ++s) {
      const std::vector<double> some = read(model_.logits(batch(ids_, 0, s, 1), false));
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  struct Losses {
    double cross_entropy;  // mean over valid targets
    double total;          // and the regularisers
  };
  // Gradients of the total loss on the batch of one step, from zero.
  Losses forward_backward(std::int64_t step) {
    double valid = 0;
    for (const std::int32_t target : batch(targets_, step, 0, sequences_)) valid += target >= 0;
    const RegularizerScales scales =
        make_regularizer_scales(regularizer_, model_.config(), static_cast<double>(tokens_),
                                static_cast<double>(sequences_));
    model_.zero_gradients();
    model_.zero_sums();
    for (std::int64_t s = 0; s < sequences_; s += micro_batch_size_) {
      model_.forward_backward(batch(ids_, step, s, micro_batch_size_),
                              batch(targets_, step, s, micro_batch_size_), 1 / valid, scales, true);
    }
    const std::vector<double> sums = read(model_.sums());
    Losses losses{sums[StepSums::loss] / valid, 0};
    losses.total = losses.cross_entropy + scales.entropy * sums[StepSums::gate_entropy] +
                   scales.balance * sums[StepSums::gate_balance];
    if (scales.ponder > 0) {
      for (std::int64_t layer = 0; layer < config().layers; ++layer) {
        if (!model_.stages()[0].layers()[static_cast<std::size_t>(layer)].has_router()) continue;
        losses.total += scales.ponder * readout_sums(layer)[readout_expected_iterations];
      }
      losses.total -= regularizer_.ponder / static_cast<double>(config().deep.iterations - 1);
    }
    return losses;
  }

  // Σ over the tokens of the last forward_backward().
  std::vector<double> readout_sums(std::int64_t layer) {
    const std::vector<double> sums = read(model_.sums());
    const auto first = sums.begin() + StepSums::first_readout + layer * num_readouts;
    return {first, first + num_readouts};
  }

  // AdamW with clipping; step counts from 0. Returns the norm before clipping.
  double update(std::int64_t step, double learning_rate) {
    const Tensor out{square_sum_.data(), DType::f64, {1}};
    const double zero = 0;
    device_.copy_to_device(out, &zero, *stream_);
    optimizer_.add_gradient_squares(out, parameters());
    const double gradient_norm = std::sqrt(read(out)[0]);
    optimizer_.update(parameters(), step + 1, learning_rate,
                      clip_scale(gradient_norm, optimizer_config_.clip_grad));
    return gradient_norm;
  }

  std::vector<double> read(Tensor tensor) {
    return tensor.dtype == DType::f64 ? read_as<double>(tensor) : read_as<float>(tensor);
  }

 private:
  template <class T>
  std::vector<double> read_as(Tensor tensor) {
    std::vector<T> host(static_cast<std::size_t>(tensor.numel()));
    device_.copy_to_host(host.data(), tensor, *stream_);
    stream_->synchronize();
    return {host.begin(), host.end()};
  }
  void write(Tensor tensor, const std::vector<double>& values) {
    ASSERT_EQ(static_cast<std::size_t>(tensor.numel()), values.size());
    const std::vector<float> narrow(values.begin(), values.end());
    const bool wide = tensor.dtype == DType::f64;
    device_.copy_to_device(tensor, wide ? static_cast<const void*>(values.data()) : narrow.data(),
                           *stream_);
    stream_->synchronize();
  }
  std::span<const std::int32_t> batch(const std::vector<std::int32_t>& all, std::int64_t step,
                                      std::int64_t sequence, std::int64_t count) const {
    const std::int64_t positions = tokens_ / sequences_;
    return std::span(all).subspan(static_cast<std::size_t>(step * tokens_ + sequence * positions),
                                  static_cast<std::size_t>(count * positions));
  }

  Device& device_;
  std::unique_ptr<Stream> stream_;
  std::int64_t sequences_;
  std::int64_t tokens_;
  std::int64_t micro_batch_size_;
  std::vector<std::int32_t> ids_, targets_;
  RegularizerConfig regularizer_;
  OptimizerConfig optimizer_config_;
  Model model_;
  AdamW optimizer_;
  Buffer square_sum_;
};

std::string fixtures_folder() {
  return DUALPATH_SOURCE_DIR "/tests/reference/fixtures";
}

std::vector<std::string> fixture_names() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures_folder())) {
    names.insert(entry.path().stem());
  }
  return {names.begin(), names.end()};
}

class TorchParity : public testing::TestWithParam<std::string> {
 protected:
  FixtureFile file{fixtures_folder() + "/" + GetParam() + ".safetensors"};
};

// Column sums of a layer's read-outs as the fixture has them; nothing where the layer has none.
std::vector<double> stored_readout_sums(const FixtureFile& file, const std::string& name,
                                        std::size_t columns) {
  if (!file.contains(name)) return {};
  std::vector<double> sums(columns);
  const std::vector<double> values = file.reals(name);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i % columns] += values[i];
  return sums;
}

void expect_first_step(const FixtureFile& file, Device& device, DType dtype) {
  Subject subject(file, device, dtype, 2);
  const double tolerance = first_step_tolerance(dtype);
  expect_close(subject.logits(), file.reals("logits"), tolerance, "logits");

  const Subject::Losses losses = subject.forward_backward(0);
  expect_close({{losses.cross_entropy}}, file.reals("cross_entropy"), tolerance, "cross_entropy");
  expect_close({{losses.total}}, file.reals("loss"), tolerance, "loss");
  for (const int p : subject.indices()) {
    expect_close(subject.read(subject.gradient(p)), file.reals("gradients." + subject.name(p)),
                 tolerance, subject.name(p));
  }

  for (std::int64_t layer = 0; layer < subject.config().layers; ++layer) {
    const std::vector<double> sums = subject.readout_sums(layer);
    const std::string suffix = fmt::format(".{}", layer);
    const auto paths = stored_readout_sums(file, "readout" + suffix, op::PathReadout::num_columns);
    const auto iterations = stored_readout_sums(file, "expected_iterations" + suffix, 1);
    if (!paths.empty()) {
      expect_close(std::span(sums).first(op::PathReadout::num_columns), paths, tolerance,
                   "readout");
    }
    if (!iterations.empty()) {
      expect_close({{sums[readout_expected_iterations]}}, iterations, tolerance, "iterations");
    }
  }
}

TEST_P(TorchParity, ParametersHaveTheSameNamesAndShapes) {
  ReferenceDevice device;
  Subject subject(file, device, DType::f64, 2);
  std::set<std::string> names;
  for (const ParameterSpec& spec : subject.parameters().specs()) {
    names.insert("parameters." + spec.name);
    EXPECT_EQ(spec.shape, file.shape("parameters." + spec.name)) << spec.name;
  }
  const std::vector<std::string> stored = file.names("parameters.");
  EXPECT_EQ(names, std::set<std::string>(stored.begin(), stored.end()));
}

TEST_P(TorchParity, LogitsLossReadoutsAndGradientsInDoublePrecision) {
  ReferenceDevice device;
  expect_first_step(file, device, DType::f64);
}

TEST_P(TorchParity, LogitsLossReadoutsAndGradientsOnTheCpuInSinglePrecision) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  expect_first_step(file, *device, DType::f32);
}

// [Σ w_i cos(i+1), Σ w_i sin(i+1), ‖w‖], as make_fixtures.py has it.
std::vector<double> fingerprint(const std::vector<double>& values) {
  double cosine = 0, sine = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    cosine += values[i] * std::cos(static_cast<double>(i + 1));
    sine += values[i] * std::sin(static_cast<double>(i + 1));
  }
  return {cosine, sine, norm(values)};
}

// One sequence a micro-batch, so that gradients accumulate. Errors of ten steps add up.
TEST_P(TorchParity, TenStepsOfAdamW) {
  ReferenceDevice device;
  Subject subject(file, device, DType::f64, 1);
  const std::vector<double> learning_rates = file.reals("learning_rates");
  const double tolerance =
      first_step_tolerance(DType::f64) * static_cast<double>(learning_rates.size());
  std::vector<double> losses, norms;
  for (std::size_t step = 0; step < learning_rates.size(); ++step) {
    losses.push_back(subject.forward_backward(static_cast<std::int64_t>(step)).total);
    norms.push_back(subject.update(static_cast<std::int64_t>(step), learning_rates[step]));
  }
  expect_close(losses, file.reals("losses"), tolerance, "losses");
  expect_close(norms, file.reals("gradient_norms"), tolerance, "gradient norms");
  for (const int p : subject.indices()) {
    expect_close(fingerprint(subject.read(subject.value(p))),
                 file.reals("trained." + subject.name(p)), tolerance, subject.name(p));
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TorchParity, testing::ValuesIn(fixture_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace dualpath
