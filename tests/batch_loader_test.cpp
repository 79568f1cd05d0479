#include "data/tokens/batch_loader.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "data/tokens/token_stream.h"
#include "tests/allocation_counter.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"
#include "tests/test_corpus.h"

namespace dualpath {
namespace {

using testing::HasSubstr;

// A sample whose every token is its number.
class NumberedSamples : public SampleSource {
 public:
  explicit NumberedSamples(std::uint64_t broken_sample = ~std::uint64_t{0})
      : broken_sample_(broken_sample) {}
  std::int64_t sequence_length() const override { return 3; }
  std::uint64_t vocab_size() const override { return 1 << 20; }
  void read(std::uint64_t sample, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const override {
    CHECK_AS(ExitCode::data, sample != broken_sample_, "sample {} is broken", sample);
    std::ranges::fill(inputs, static_cast<std::int32_t>(sample));
    std::ranges::fill(targets, static_cast<std::int32_t>(sample) + 1);
    if (sample % 2 == 1) targets.back() = -1;
  }

 private:
  std::uint64_t broken_sample_;
};

// The samples of one rank and step, in the order of micro-batches and rows.
std::vector<std::uint64_t> samples_of(const Batch& batch, const BatchLayout& layout) {
  std::vector<std::uint64_t> samples;
  for (std::int64_t a = 0; a < layout.accumulation; ++a) {
    for (std::int64_t row = 0; row < layout.micro_batch_size; ++row) {
      const auto inputs = batch.inputs(a).subspan(static_cast<std::size_t>(row) * 3, 3);
      const auto targets = batch.targets(a).subspan(static_cast<std::size_t>(row) * 3, 3);
      EXPECT_EQ(std::ranges::count(inputs, inputs[0]), std::ssize(inputs));
      EXPECT_EQ(targets[0], inputs[0] + 1);
      samples.push_back(static_cast<std::uint64_t>(inputs[0]));
    }
  }
  return samples;
}

TEST(BatchLoader, EveryLayoutTrainsOnTheSameSamplesInAStep) {
  const NumberedSamples source;
  constexpr std::uint64_t consumed = 240;
  constexpr std::int64_t global_batch = 24;
  for (const std::int64_t data_size : {1, 2, 4}) {
    for (const std::int64_t micro : {1, 2, 3, 6}) {
      std::map<std::uint64_t, int> seen;
      std::int64_t num_targets = 0;
      for (std::int64_t rank = 0; rank < data_size; ++rank) {
        const BatchLayout layout{rank, data_size, micro, global_batch / (micro * data_size)};
        ASSERT_EQ(layout.global_batch_size(), global_batch);
        BatchLoader loader(source, layout, consumed);
        for (std::uint64_t step = 0; step < 5; ++step) {
          const Batch& batch = loader.next();
          EXPECT_EQ(batch.first_sample(), consumed + step * global_batch);
          num_targets += batch.num_targets();
          for (const std::uint64_t sample : samples_of(batch, layout)) {
            ++seen[sample];
            EXPECT_EQ((sample - consumed) / global_batch, step);
          }
        }
      }
      EXPECT_EQ(seen.size(), 5u * global_batch);
      EXPECT_EQ(seen.begin()->first, consumed);
      EXPECT_EQ(seen.rbegin()->first, consumed + 5 * global_batch - 1);
      EXPECT_EQ(num_targets, 5 * global_batch * 5 / 2) << "every other sample lacks one of three";
    }
  }
}

TEST(BatchLoader, GoesOnWhereARunStopped) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 900), 2});
  corpora.push_back({make_test_corpus(folder / "b", 500, 300), 1});
  const TokenStream stream(std::move(corpora), 7, 16);
  const BatchLayout layout{
      .data_rank = 1, .data_size = 2, .micro_batch_size = 2, .accumulation = 2};
  std::vector<std::vector<std::int32_t>> whole;
  BatchLoader loader(stream, layout, 0);
  for (int step = 0; step < 40; ++step) {
    const Batch& batch = loader.next();
    whole.emplace_back(batch.inputs(1).begin(), batch.inputs(1).end());
  }
  for (std::uint64_t stopped : {1u, 13u, 39u}) {
    BatchLoader resumed(stream, layout,
                        stopped * static_cast<std::uint64_t>(layout.global_batch_size()));
    for (std::uint64_t step = stopped; step < 40; ++step) {
      const auto inputs = resumed.next().inputs(1);
      ASSERT_TRUE(std::ranges::equal(inputs, whole[step])) << step;
    }
  }
}

TEST(BatchLoader, ThrowsWhatItsThreadMetAtTheStepItBelongsTo) {
  const NumberedSamples source(9);
  BatchLoader loader(source, {.micro_batch_size = 2, .accumulation = 2}, 0, 3);
  EXPECT_EQ(loader.next().first_sample(), 0u);
  EXPECT_EQ(loader.next().first_sample(), 4u);
  for (int again = 0; again < 2; ++again) {
    EXPECT_THAT(error_of(ExitCode::data, [&] { loader.next(); }), HasSubstr("sample 9 is broken"));
  }
}

TEST(BatchLoader, KeepsTheBatchInUse) {
  const NumberedSamples source;
  const BatchLayout layout{.micro_batch_size = 4};
  BatchLoader loader(source, layout, 0, 1);
  for (std::uint64_t step = 0; step < 200; ++step) {
    const Batch& batch = loader.next();
    std::this_thread::yield();  // the thread reads ahead meanwhile
    for (std::uint64_t row = 0; row < 4; ++row) {
      ASSERT_EQ(samples_of(batch, layout)[row], 4 * step + row);
    }
  }
}

TEST(BatchLoader, AllocatesNothingInAStep) {
  const TemporaryFolder folder;
  std::vector<WeightedCorpus> corpora;
  corpora.push_back({make_test_corpus(folder / "a", 900), 2});
  corpora.push_back({make_test_corpus(folder / "b", 500), 1});
  const TokenStream stream(std::move(corpora), 7, 16);
  const MockTokens mock(7, 1000, 16);
  for (const SampleSource* source :
       {static_cast<const SampleSource*>(&stream), static_cast<const SampleSource*>(&mock)}) {
    BatchLoader loader(*source, {.micro_batch_size = 4, .accumulation = 4}, 0);
    loader.next();
    const std::uint64_t before = num_heap_allocations();
    for (int step = 0; step < 50; ++step) loader.next();
    EXPECT_EQ(num_heap_allocations(), before);
  }
  EXPECT_GT(num_heap_allocations(), 0u);
}

TEST(MockTokens, ArePureInTheSampleNumber) {
  const MockTokens source(5, 100, 8), same(5, 100, 8), other(6, 100, 8);
  std::vector<std::int32_t> inputs(8), targets(8), again(8), ignored(8);
  source.read(3, inputs, targets);
  for (std::size_t i = 0; i + 1 < 8; ++i) EXPECT_EQ(targets[i], inputs[i + 1]);
  EXPECT_THAT(inputs, testing::Each(testing::AllOf(testing::Ge(0), testing::Lt(100))));
  same.read(3, again, ignored);
  EXPECT_EQ(again, inputs);
  same.read(4, again, ignored);
  EXPECT_NE(again, inputs);
  other.read(3, again, ignored);
  EXPECT_NE(again, inputs);
}

}  // namespace
}  // namespace dualpath
