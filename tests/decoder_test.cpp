// Decoding behind cached keys and values gives what the whole text at once gives: logits of every
// architecture and option, texts longer than the window, greedy text of a trained model; no
// allocation for a token.
#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <vector>

#include "core/base/random.h"
#include "core/cpu/cpu_device.h"
#include "model/resolve_config.h"
#include "tests/allocation_counter.h"
#include "tests/model_variants.h"
#include "tests/reference_ops/reference_device.h"
#include "tests/small_training.h"

namespace dualpath {
namespace {

using Row = std::vector<double>;

// As in torch_parity_test.cpp: chains of at most 1000 operations on sums of at most 100 terms, or
// 500 operations on 400 terms.
double tolerance(DType dtype) {
  return 1e4 * (dtype == DType::f64 ? std::numeric_limits<double>::epsilon()
                                    : std::numeric_limits<float>::epsilon());
}

double norm(const Row& row) {
  double sum = 0;
  for (const double x : row) sum += x * x;
  return std::sqrt(sum);
}

testing::AssertionResult close(const Row& found, const Row& expected, DType dtype) {
  if (found.size() != expected.size()) return testing::AssertionFailure() << "sizes differ";
  Row error = found;
  for (std::size_t i = 0; i < error.size(); ++i) error[i] -= expected[i];
  if (norm(error) <= tolerance(dtype) * norm(expected)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << norm(error) << " of " << norm(expected);
}

template <class T>
void add_noise(Tensor flat) {
  std::vector<T> noise(static_cast<std::size_t>(flat.numel()));
  CounterRng(12, "noise").normal(std::span<T>(noise), 0, 0, 0.2);
  for (std::size_t i = 0; i < noise.size(); ++i) flat.as<T>()[i] += noise[i];
}

// A model with all parameters random, and a text of sequence_length tokens.
struct Rig {
  Rig(ModelConfig config, std::int64_t sequence_length, DType type)
      : dtype(type),
        device(type == DType::f64 ? std::make_unique<ReferenceDevice>() : make_cpu_device(2)),
        stream(device->make_stream()),
        model(
            [&] {
              config.sequence_length = sequence_length;
              return resolve(config);
            }(),
            {.types = NumericTypes::all(type), .training = false}, *device, *stream) {
    model.parameters().initialize(11, *device, *stream);
    // Norms, gates and biases do not stay at their neutral start.
    const Tensor flat = model.parameters().flat_values();
    dtype == DType::f64 ? add_noise<double>(flat) : add_noise<float>(flat);
    const CounterRng rng(5, "tokens");
    const auto vocab = static_cast<std::uint64_t>(config.vocab_size);
    for (std::int64_t t = 0; t < 4 * sequence_length; ++t) {
      ids.push_back(static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(t), vocab)));
    }
  }

  std::span<const std::int32_t> tokens(std::int64_t begin, std::int64_t count) const {
    return std::span(ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  }
  std::vector<Row> rows(Tensor logits) const {
    std::vector<Row> all;
    for (std::int64_t i = 0; i < logits.rows(); ++i) {
      const Tensor row = logits.row(i);
      all.push_back(dtype == DType::f64 ? Row(row.as<double>(), row.as<double>() + row.numel())
                                        : Row(row.as<float>(), row.as<float>() + row.numel()));
    }
    return all;
  }

  DType dtype;
  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  Model model;
  std::vector<std::int32_t> ids;  // four times as many as the model takes
};

// Tokens that arrive in runs of these lengths get the logits that they get all at once.
void expect_same_logits(const Variant& variant, DType dtype,
                        const std::vector<std::int64_t>& runs) {
  std::int64_t length = 0;
  for (const std::int64_t run : runs) length += run;
  Rig rig(variant.config, length, dtype);
  const std::vector<Row> expected = rig.rows(rig.model.logits(rig.tokens(0, length), false));
  KvCache cache = rig.model.make_cache(length);
  std::vector<Row> found;
  for (const std::int64_t run : runs) {
    const auto new_tokens = rig.tokens(cache.length(), run);
    for (Row& row : rig.rows(rig.model.logits(new_tokens, false, &cache))) {
      found.push_back(std::move(row));
    }
  }
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(close(found[i], expected[i], dtype)) << "position " << i;
  }
}

class Decoding : public testing::TestWithParam<Variant> {};

TEST_P(Decoding, OneByOneEqualsAllAtOnce) {
  expect_same_logits(GetParam(), DType::f64, {1, 1, 1, 1, 1, 1, 1});
}

TEST_P(Decoding, RunsEqualAllAtOnce) {
  expect_same_logits(GetParam(), DType::f64, {4, 1, 3, 1, 1, 2});
}

TEST_P(Decoding, OnTheCpuInSinglePrecision) {
  expect_same_logits(GetParam(), DType::f32, {130, 1, 1, 5, 40, 1, 8, 2});
}

INSTANTIATE_TEST_SUITE_P(Variants, Decoding, testing::ValuesIn(variants()),
                         [](const auto& info) { return info.param.name; });

TEST(KvCache, HasAnEntryForEveryAttention) {
  const auto attentions = [](Architecture a, bool shared) {
    ModelConfig config = tiny(a);  // K = 3
    config.shared_attention = shared;
    ParameterStore store;
    return Layer(store, resolve(config), 0, 1).num_attentions();
  };
  EXPECT_EQ(attentions(Architecture::dual_path, false), 4);
  EXPECT_EQ(attentions(Architecture::dual_path, true), 3);
  EXPECT_EQ(attentions(Architecture::looped, false), 3);
  EXPECT_EQ(attentions(Architecture::wide, false), 1);
  EXPECT_EQ(attentions(Architecture::standard, false), 1);
}

TEST(KvCache, ForgetsTheEnd) {
  Rig rig(tiny(Architecture::dual_path), 7, DType::f64);
  KvCache cache = rig.model.make_cache(7);
  rig.model.logits(rig.tokens(0, 3), true, &cache);
  const Row expected = rig.rows(rig.model.logits(rig.tokens(3, 4), true, &cache))[0];
  cache.truncate(3);
  rig.model.logits(rig.tokens(9, 2), true, &cache);  // another continuation
  cache.truncate(3);
  EXPECT_EQ(rig.rows(rig.model.logits(rig.tokens(3, 4), true, &cache))[0], expected);
  EXPECT_THROW(rig.model.logits(rig.tokens(0, 1), true, &cache), Error);  // full
  EXPECT_THROW(cache.truncate(8), Error);
}

// A window of 7: positions 0 to 6, then the last 4 of 8 tokens are read again, and so on.
TEST(Decoder, ReadsTheLaterHalfOfAFullWindowAgain) {
  Rig rig(tiny(Architecture::dual_path), 7, DType::f64);
  Decoder decoder(rig.model, 7);
  const auto expect_window = [&](Tensor logits, std::int64_t end, std::int64_t seen) {
    const Row found = rig.rows(logits)[0];
    const Row expected = rig.rows(rig.model.logits(rig.tokens(end - seen, seen), true))[0];
    EXPECT_TRUE(close(found, expected, DType::f64)) << "token " << end;
  };
  const std::int64_t seen[] = {1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4};
  for (std::int64_t t = 0; t < std::ssize(seen); ++t) {
    expect_window(decoder.append(rig.tokens(t, 1)), t + 1, seen[t]);
  }
  // A prompt longer than the window, alone and behind another text; one that just fits.
  expect_window(decoder.append(rig.tokens(16, 11)), 27, 4);
  decoder.restart();
  expect_window(decoder.append(rig.tokens(0, 20)), 20, 4);
  decoder.restart();
  expect_window(decoder.append(rig.tokens(0, 7)), 7, 7);
}

// The window's turn over included.
TEST(Decoder, ATokenAllocatesNothing) {
  Rig rig(tiny(Architecture::dual_path), 40, DType::f32);
  Decoder decoder(rig.model, 40);
  decoder.append(rig.tokens(0, 30));
  decoder.append(rig.tokens(30, 1));
  const std::size_t buffers = rig.device->num_allocations();
  const std::uint64_t allocations = num_heap_allocations();
  for (std::int64_t t = 31; t < 130; ++t) decoder.append(rig.tokens(t, 1));
  EXPECT_EQ(num_heap_allocations(), allocations);
  EXPECT_EQ(rig.device->num_allocations(), buffers);
}

TEST(Decoder, GreedyTextOfATrainedModelIsThatOfTheWholePass) {
  const auto device = make_cpu_device(2);
  const auto stream = device->make_stream();
  const auto self = make_self_communicator();
  CountingTokens source;
  Trainer trainer(small_options(), *device, *stream, *self);
  trainer.initialize();
  trainer.start(source, {});
  for (int step = 0; step < 40; ++step) trainer.step({});

  Model& model = trainer.model();
  const auto likeliest = [](Tensor logits) {
    const float* begin = logits.as<float>();
    return static_cast<std::int32_t>(std::max_element(begin, begin + logits.numel()) - begin);
  };
  std::vector<std::int32_t> cached = {60, 61, 62}, whole = cached;
  Decoder decoder(model, 24);
  for (Tensor logits = decoder.append(cached); cached.size() < 24;
       logits = decoder.append(std::span(cached).last(1))) {
    cached.push_back(likeliest(logits));
  }
  while (whole.size() < 24) whole.push_back(likeliest(model.logits(whole, true)));
  EXPECT_EQ(cached, whole);
  EXPECT_EQ(cached.back(), (60 + 23) % 64);
}

}  // namespace
}  // namespace dualpath
