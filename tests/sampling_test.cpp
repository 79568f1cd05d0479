// Sampling: which tokens are drawn, how often, and the same ones again.
#include "launcher/evaluate/sampling.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "tests/expect_error.h"

namespace dualpath {
namespace {

// Probabilities 0.1, 0.4, 0.05, 0.25, 0.2.
const std::vector<double> probabilities = {0.1, 0.4, 0.05, 0.25, 0.2};

std::vector<float> logits_of(const std::vector<double>& weights) {
  std::vector<float> logits;
  for (const double weight : weights) logits.push_back(static_cast<float>(3 + std::log(weight)));
  return logits;
}

std::vector<double> frequencies(const SamplingConfig& config) {
  const std::vector<float> logits = logits_of(probabilities);
  Sampler sampler(config, logits.size(), 0);
  std::vector<double> share(logits.size());
  constexpr int draws = 40000;
  for (int i = 0; i < draws; ++i) share[static_cast<std::size_t>(sampler.pick(logits))] += 1;
  for (double& s : share) s /= draws;
  return share;
}

// Five standard deviations of a share among 40000 draws, at most 0.5/√40000 each; never for a token
// that is left out.
void expect_frequencies(const SamplingConfig& config, std::vector<double> expected) {
  const std::vector<double> found = frequencies(config);
  const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i] / total, 5 * 0.5 / 200) << "token " << i;
    EXPECT_EQ(found[i] == 0, expected[i] == 0) << "token " << i;
  }
}

TEST(Sampler, DrawsEachTokenAsOftenAsItsProbability) {
  expect_frequencies({.temperature = 1}, probabilities);
  expect_frequencies({.temperature = 1, .top_k = 9}, probabilities);
}

TEST(Sampler, TemperatureIsAnExponent) {
  std::vector<double> squares = probabilities;
  for (double& p : squares) p *= p;
  expect_frequencies({.temperature = 0.5}, squares);
}

TEST(Sampler, TopKAndTopPLeaveTheLikeliest) {
  expect_frequencies({.temperature = 1, .top_k = 3}, {0, 0.4, 0, 0.25, 0.2});
  // 0.4 + 0.25 is less than 0.7; with 0.2 it is enough.
  expect_frequencies({.temperature = 1, .top_p = 0.7}, {0, 0.4, 0, 0.25, 0.2});
  expect_frequencies({.temperature = 1, .top_p = 0.6}, {0, 0.4, 0, 0.25, 0});
  // top_p counts what top_k leaves: 0.4/0.65 is 0.615.
  expect_frequencies({.temperature = 1, .top_k = 2, .top_p = 0.6}, {0, 1, 0, 0, 0});
  expect_frequencies({.temperature = 1, .top_k = 2, .top_p = 0.65}, {0, 0.4, 0, 0.25, 0});
}

TEST(Sampler, NoChoiceIsLeft) {
  const std::vector<float> logits = {1, 3, 2, 3};  // of equals, the first
  for (const SamplingConfig& config :
       {SamplingConfig{.temperature = 0}, SamplingConfig{.temperature = 1e-300, .top_k = 1},
        SamplingConfig{.temperature = 5, .top_k = 1},
        SamplingConfig{.temperature = 5, .top_p = 0}}) {
    Sampler sampler(config, logits.size(), 0);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.pick(logits), 1);
  }
}

TEST(Sampler, SeedAndTextNumberFixTheTokens) {
  const std::vector<float> logits = logits_of(probabilities);
  const auto draw = [&](std::int64_t seed, std::size_t text) {
    Sampler sampler({.seed = seed}, logits.size(), text);
    std::vector<std::int32_t> tokens(40);
    for (std::int32_t& token : tokens) token = sampler.pick(logits);
    return tokens;
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(2, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> logits = {0, bad, 1};
    Sampler sampler({}, logits.size(), 0);
    EXPECT_EQ(error_of(ExitCode::numerics, [&] { sampler.pick(logits); }),
              "the model's logits are not finite");
  }
}

TEST(WholeCharacters, HoldsBackACharacterThatIsCutOff) {
  EXPECT_EQ(whole_characters(""), 0u);
  EXPECT_EQ(whole_characters("ab"), 2u);
  EXPECT_EQ(whole_characters("aé"), 3u);
  EXPECT_EQ(whole_characters("a\xC3"), 1u);
  EXPECT_EQ(whole_characters("a\xE2\x82"), 1u);
  EXPECT_EQ(whole_characters("a\xE2\x82\xAC"), 4u);
  EXPECT_EQ(whole_characters("\xF0\x9F\x98"), 0u);
  EXPECT_EQ(whole_characters("\xF0\x9F\x98\x80"), 4u);
  EXPECT_EQ(whole_characters("a\x82\x82\x82\x82"), 5u);  // no character: nothing to wait for
}

}  // namespace
}  // namespace dualpath
