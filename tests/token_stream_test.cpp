#include "data/tokens/token_stream.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "core/base/random.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"
#include "tests/test_corpus.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Blend, SharesMatchTheWeightsToWithinOneAtEveryPrefix) {
  std::vector<std::vector<double>> cases = {
      {1}, {1, 1}, {0.7, 0.3}, {5, 3, 2}, {1, 1e-3, 2, 0.5, 0.25}, {1e-9, 1e9}, {1, 1e30}, {}};
  const CounterRng rng(3, "weights");
  for (std::uint64_t i = 0; i < 40; ++i) cases.back().push_back(std::exp(3 * rng.uniform(i)));
  for (const auto& weights : cases) {
    Blend blend(weights);
    for (std::uint64_t n = 1; n <= 20'000; ++n) {
      blend.next();
      for (std::size_t c = 0; c < weights.size(); ++c) {
        const double expected = blend.share(c) * static_cast<double>(n);
        ASSERT_LT(std::abs(static_cast<double>(blend.drawn()[c]) - expected), 1 + 1e-9)
            << "corpus " << c << " after " << n;
      }
    }
  }
}

TEST(Blend, GoesOnFromItsCounts) {
  const std::vector<double> weights = {5, 3, 2, 0.1};
  Blend whole(weights);
  for (int i = 0; i < 137; ++i) whole.next();
  Blend resumed(weights, whole.drawn());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(resumed.next(), whole.next());
}

TEST(Blend, IsExactFarIntoARun) {
  const std::uint64_t far = std::uint64_t{1} << 50;
  const std::vector<std::uint64_t> drawn = {5 * far, 3 * far, 2 * far};
  Blend near(std::vector<double>{5, 3, 2}), distant(std::vector<double>{5, 3, 2}, drawn);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(near.next(), distant.next());
}

TEST(Blend, RefusesWeightsThatAreNotPositive) {
  for (const double weight : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THAT(error_of(ExitCode::configuration,
                         [&] {
                           Blend(std::vector<double>{1, weight});
                         }),
                HasSubstr("weights are positive"));
  }
}

// S10: a corpus of 43 tokens in samples of 8 leaves 3 over, which the next epoch begins with.
TEST(TokenStream, EveryTokenIsAnInputOnceAPass) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 43), 1});
  const TokenStream stream(std::move(corpora), 3, 8);
  std::vector<std::int32_t> inputs(8), targets(8);
  std::vector<int> times(43);
  std::uint64_t epochs = 0;
  for (std::uint64_t i = 0; i < 43; ++i) {  // 43 samples: 8 passes
    epochs = std::max(epochs, stream.locate(i).epoch + 1);
    stream.read(i, inputs, targets);
    for (std::size_t j = 0; j < 8; ++j) {
      ++times[static_cast<std::size_t>(inputs[j])];
      EXPECT_EQ(targets[j], (inputs[j] + 1) % 43) << "the last token is followed by the first";
    }
  }
  EXPECT_EQ(epochs, 8u);
  EXPECT_THAT(times, testing::Each(8));
}

TEST(TokenStream, EachEpochIsAShuffleOfItsOwn) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 800), 1});    // 100 samples of 8
  corpora.push_back({make_test_corpus(folder / "b", 330), 0.7});  // 41, and 2 tokens left over
  const TokenStream stream(std::move(corpora), 3, 8);
  std::vector<std::vector<std::vector<std::uint64_t>>> order(2);  // [corpus][epoch]
  for (std::uint64_t i = 0; i < 520; ++i) {
    const SampleLocation location = stream.locate(i);
    auto& epochs = order[location.corpus];
    ASSERT_LE(location.epoch, epochs.size());
    if (location.epoch == epochs.size()) epochs.emplace_back();
    epochs[location.epoch].push_back(location.sample);
  }
  for (std::size_t corpus : {0u, 1u}) {
    ASSERT_GE(order[corpus].size(), 3u);
    for (std::size_t epoch : {0u, 1u}) {
      const auto& samples = order[corpus][epoch];
      EXPECT_EQ(samples.size(), corpus == 0 ? 100u : 41u);
      EXPECT_EQ(std::set(samples.begin(), samples.end()).size(), samples.size());
      EXPECT_LT(*std::ranges::max_element(samples), samples.size());
      EXPECT_FALSE(std::ranges::is_sorted(samples));
    }
    EXPECT_NE(order[corpus][0], order[corpus][1]);
  }
  EXPECT_EQ(stream.locate(17), stream.locate(17)) << "going back gives the same";
}

// S3: corpora of one base name are not drawn in lockstep.
TEST(TokenStream, CorporaOfOneNameAreShuffledApart) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "en/train", 800, 0), 1});
  corpora.push_back({make_test_corpus(folder / "fr/train", 800, 100), 1});
  const TokenStream stream(std::move(corpora), 3, 8);
  std::vector<std::uint64_t> order[2];
  for (std::uint64_t i = 0; i < 200; ++i) {
    const SampleLocation location = stream.locate(i);
    order[location.corpus].push_back(location.sample);
  }
  EXPECT_NE(order[0], order[1]);
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
    const auto token_at = [&](std::uint64_t place) {
      return static_cast<std::int32_t>((location.corpus * 500 + place % 900) % test_vocab_size);
    };
    stream.read(i, inputs, targets);
    for (std::uint64_t j = 0; j < length; ++j) {
      ASSERT_EQ(inputs[j], token_at(location.token + j));
      ASSERT_EQ(targets[j], token_at(location.token + j + 1));
    }
  }
}

TEST(TokenStream, TheOrderDependsOnTheSeedOnly) {
  const TemporaryFolder folder;
  make_test_corpus(folder / "here/novels", 9000);
  make_test_corpus(folder / "there/stories", 9000);
  const auto order = [&](const std::string& path, std::uint64_t seed) {
    std::vector<WeightedCorpus> corpora;
    corpora.push_back({Corpus::open(folder / path), 1});
    const TokenStream stream(std::move(corpora), seed, 8);
    std::vector<std::uint64_t> samples;
    for (std::uint64_t i = 0; i < 100; ++i) samples.push_back(stream.locate(i).sample);
    return samples;
  };
  EXPECT_EQ(order("here/novels", 1), order("there/stories", 1))
      << "moving and renaming a corpus changes nothing";
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
  make_test_corpus(folder / "copy", 100);
  EXPECT_THAT(problem(Corpus::open(folder / "good"), Corpus::open(folder / "small")),
              AllOf(HasSubstr("/small"), HasSubstr("16 tokens are too few")));
  EXPECT_THAT(problem(Corpus::open(folder / "good"), Corpus::open(folder / "other")),
              AllOf(HasSubstr("/good"), HasSubstr("/other"), HasSubstr("different tokenizers")));
  EXPECT_THAT(problem(Corpus::open(folder / "good"), Corpus::open(folder / "copy")),
              AllOf(HasSubstr("/good"), HasSubstr("/copy"), HasSubstr("hold the same tokens")));
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
