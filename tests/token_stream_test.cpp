#include "data/token_stream.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "tests/expect_error.h"
#include "tests/temporary_folder.h"
#include "tests/test_corpus.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Mixture, SharesMatchTheWeightsAtEveryPrefix) {
  const std::vector<std::vector<double>> cases = {
      {1}, {1, 1}, {0.7, 0.3}, {5, 3, 2}, {1, 1e-3, 2, 0.5, 0.25}, {1e-9, 1e9}};
  for (const auto& weights : cases) {
    const Mixture mixture(weights);
    std::vector<std::uint64_t> counts(weights.size());
    for (std::uint64_t n = 0; n < 20'000; ++n) {
      const auto [corpus, ordinal] = mixture.pick(n);
      // Each corpus deals out its own samples in order, none skipped.
      ASSERT_EQ(ordinal, counts[corpus]);
      ++counts[corpus];
      for (std::size_t c = 0; c < weights.size(); ++c) {
        const double expected = mixture.share(c) * static_cast<double>(n + 1);
        // Each node on the way down rounds once, by less than 1.
        ASSERT_LE(std::abs(static_cast<double>(counts[c]) - expected), mixture.depth())
            << "corpus " << c << " after " << n + 1;
      }
    }
  }
}

TEST(Mixture, IsExactFarIntoARun) {
  const Mixture mixture(std::vector<double>{5, 3, 2});
  const std::uint64_t far = std::uint64_t{1} << 53;
  std::vector<std::uint64_t> next(3);
  for (std::uint64_t n = far; n < far + 1000; ++n) {
    const auto [corpus, ordinal] = mixture.pick(n);
    if (next[corpus] != 0) {
      EXPECT_EQ(ordinal, next[corpus]);
    }
    next[corpus] = ordinal + 1;
  }
}

TEST(Mixture, RefusesWeightsThatAreNotPositive) {
  for (const double weight : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THAT(error_of(ExitCode::configuration,
                         [&] {
                           Mixture(std::vector<double>{1, weight});
                         }),
                HasSubstr("weights are positive"));
  }
}

TEST(TokenStream, EachEpochIsAShuffleOfItsOwn) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 801), 1});    // 100 samples of 8
  corpora.push_back({make_test_corpus(folder / "b", 336), 0.7});  // 41, and 7 tokens left over
  const TokenStream stream(std::move(corpora), 3, 8);
  EXPECT_EQ(stream.num_samples(0), 100u);
  EXPECT_EQ(stream.num_samples(1), 41u);
  std::vector<std::vector<std::vector<std::uint64_t>>> order(2);  // [corpus][epoch]
  for (std::uint64_t i = 0; i < 520; ++i) {
    const SampleLocation location = stream.locate(i);
    EXPECT_EQ(location.token, location.sample * 8);
    auto& epochs = order[location.corpus];
    ASSERT_LE(location.epoch, epochs.size());
    if (location.epoch == epochs.size()) epochs.emplace_back();
    epochs[location.epoch].push_back(location.sample);
  }
  for (std::size_t corpus : {0u, 1u}) {
    ASSERT_GE(order[corpus].size(), 3u);
    for (std::size_t epoch : {0u, 1u}) {
      const auto& samples = order[corpus][epoch];
      EXPECT_EQ(samples.size(), stream.num_samples(corpus));
      EXPECT_EQ(std::set(samples.begin(), samples.end()).size(), samples.size());
      EXPECT_LT(*std::ranges::max_element(samples), samples.size());
      EXPECT_FALSE(std::ranges::is_sorted(samples));
    }
    EXPECT_NE(order[corpus][0], order[corpus][1]);
  }
}

TEST(TokenStream, ReadsTheTokensOfItsLocation) {
  const TemporaryFolder folder;
  constexpr std::int64_t length = 16;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 900, 0), 2});
  corpora.push_back({make_test_corpus(folder / "b", 900, 500), 1});
  const TokenStream stream(std::move(corpora), 3, length);
  EXPECT_EQ(stream.vocab_size(), test_vocab_size);
  std::vector<std::int32_t> inputs(length), targets(length);
  for (std::uint64_t i = 0; i < 200; ++i) {
    const SampleLocation location = stream.locate(i);
    const std::uint64_t first = location.token + (location.corpus == 0 ? 0 : 500);
    stream.read(i, inputs, targets);
    for (std::uint64_t j = 0; j < length; ++j) {
      ASSERT_EQ(inputs[j], static_cast<std::int32_t>((first + j) % test_vocab_size));
      ASSERT_EQ(targets[j], static_cast<std::int32_t>((first + j + 1) % test_vocab_size));
    }
  }
}

TEST(TokenStream, TheOrderDependsOnTheSeedOnly) {
  const TemporaryFolder folder;
  make_test_corpus(folder / "here/novels", 9000);
  make_test_corpus(folder / "there/novels", 9000);
  const auto order = [&](const std::string& path, std::uint64_t seed) {
    std::vector<WeightedCorpus> corpora;
    corpora.push_back({Corpus::open(folder / path), 1});
    const TokenStream stream(std::move(corpora), seed, 8);
    std::vector<std::uint64_t> samples;
    for (std::uint64_t i = 0; i < 100; ++i) samples.push_back(stream.locate(i).sample);
    return samples;
  };
  EXPECT_EQ(order("here/novels", 1), order("there/novels", 1)) << "moving a corpus changes nothing";
  EXPECT_NE(order("here/novels", 1), order("here/novels", 2));
}

TEST(TokenStream, RefusesCorporaThatCannotServe) {
  const TemporaryFolder folder;
  const auto problem = [](Corpus first, Corpus second) {
    std::vector<WeightedCorpus> corpora;
    corpora.push_back({std::move(first), 1});
    corpora.push_back({std::move(second), 1});
    return error_of(ExitCode::data, [&] { TokenStream(std::move(corpora), 0, 16); });
  };
  make_test_corpus(folder / "good", 100);
  make_test_corpus(folder / "small", 16);
  make_test_corpus(folder / "other", 100, 0, "xyz");
  EXPECT_THAT(problem(Corpus::open(folder / "good"), Corpus::open(folder / "small")),
              AllOf(HasSubstr("/small"), HasSubstr("16 tokens are too few")));
  EXPECT_THAT(problem(Corpus::open(folder / "good"), Corpus::open(folder / "other")),
              AllOf(HasSubstr("/good"), HasSubstr("/other"), HasSubstr("different tokenizers")));
}

// Every token but the first is the target exactly once, in order, whatever the length.
TEST(SequentialSamples, CoverTheCorpusOnce) {
  const TemporaryFolder folder;
  make_test_corpus(folder / "a", 101);
  for (const std::int64_t length : {1, 7, 10, 99, 100, 101, 200}) {
    const SequentialSamples samples(Corpus::open(folder / "a"), length);
    EXPECT_EQ(samples.num_samples(), static_cast<std::uint64_t>((100 + length - 1) / length));
    std::vector<std::int32_t> inputs(static_cast<std::size_t>(length)), targets(inputs.size());
    std::int32_t seen = 0;
    for (std::uint64_t i = 0; i < samples.num_samples(); ++i) {
      samples.read(i, inputs, targets);
      for (std::size_t j = 0; j < targets.size(); ++j) {
        if (seen < 100) {
          ASSERT_EQ(inputs[j], seen);
          ASSERT_EQ(targets[j], ++seen);
        } else {
          ASSERT_EQ(inputs[j], 0);
          ASSERT_EQ(targets[j], -1);
        }
      }
    }
    EXPECT_EQ(seen, 100);
    samples.read(samples.num_samples() + 5, inputs, targets);
    EXPECT_THAT(targets, testing::Each(-1));
  }
}

}  // namespace
}  // namespace dualpath
