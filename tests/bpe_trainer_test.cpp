#include "data/text/bpe_trainer.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/random_text.h"

namespace dualpath {
namespace {

const Segmenter kSegmenter(SplitRule::gpt2);

PieceCounts count(std::string_view text) {
  PieceCounts pieces;
  pieces.add_text(kSegmenter, text);
  return pieces;
}

Tokenizer train(const PieceCounts& pieces, std::uint32_t vocab_size) {
  return train_bpe(pieces, SplitRule::gpt2, vocab_size);
}

// Counts all pairs anew for every merge.
std::vector<std::string> naive_tokens(const PieceCounts& pieces, std::size_t vocab_size) {
  std::vector<std::string> tokens;
  std::array<std::uint32_t, 256> id_of_byte{};
  for (const std::uint8_t byte : gpt2_byte_order()) {
    id_of_byte[byte] = static_cast<std::uint32_t>(tokens.size());
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  std::vector<std::pair<std::vector<std::uint32_t>, std::int64_t>> words;
  pieces.for_each([&](std::string_view piece, std::int64_t times) {
    words.push_back({{}, times});
    for (const char c : piece) {
      words.back().first.push_back(id_of_byte[static_cast<unsigned char>(c)]);
    }
  });
  while (tokens.size() + 1 < vocab_size) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::int64_t> counts;
    for (const auto& [ids, times] : words) {
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) counts[{ids[i], ids[i + 1]}] += times;
    }
    // The first of the largest: the map is in the order of the ids.
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](auto& a, auto& b) { return a.second < b.second; });
    if (best == counts.end() || best->second < 2) break;
    const auto [left, right] = best->first;
    const std::string joined = tokens[left] + tokens[right];
    const auto place = std::find(tokens.begin(), tokens.end(), joined);
    const auto result = static_cast<std::uint32_t>(place - tokens.begin());
    if (place == tokens.end()) tokens.push_back(joined);
    for (auto& [ids, times] : words) {
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        if (ids[i] == left && ids[i + 1] == right) {
          ids[i] = result;
          ids.erase(ids.begin() + static_cast<long>(i) + 1);
        }
      }
    }
  }
  tokens.emplace_back(end_of_text_name);
  return tokens;
}

TEST(BpeTrainer, MostFrequentPairFirstThenTheSmallest) {
  // "ab" 4 times, " ab" 3 times; of the pairs that occur twice, c-d has the smallest ids.
  const Tokenizer tokenizer = train(count("ab ab ab ab xy xy cd cd"), 300);
  std::vector<std::string> merged(tokenizer.tokens().begin() + 256, tokenizer.tokens().end());
  EXPECT_THAT(merged, testing::ElementsAre("ab", " ab", "cd", "xy", " cd", " xy", "<|endoftext|>"));
}

TEST(BpeTrainer, FollowsTheNaiveTrainer) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::string text = random_text(seed, 300);
    if (seed % 2 == 1) {  // runs of few letters: overlapping pairs
      const CounterRng rng(seed, "letters");
      for (std::uint64_t i = 0; i < 600; ++i) text += "aaab "[rng.below(i, 5)];
    }
    const PieceCounts pieces = count(text);
    const Tokenizer tokenizer = train(pieces, 340);
    const std::vector<std::string> expected = naive_tokens(pieces, 340);
    EXPECT_TRUE(std::ranges::equal(tokenizer.tokens(), expected)) << "seed " << seed;
  }
}

TEST(BpeTrainer, TheTrainedTokenizerEncodesAsTheTrainerMerged) {
  std::string text;
  for (int i = 0; i < 5; ++i) text += " thinking thinker thinks";
  const Tokenizer tokenizer = train(count(text), 400);
  std::vector<std::uint32_t> ids;
  tokenizer.encode(text, ids);
  EXPECT_EQ(ids.size(), 15u);  // every word has become one token
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(BpeTrainer, TheSplitRuleStaysWithTheTokenizer) {
  PieceCounts pieces;
  const std::string text = "11 12 11 12 11 12";
  pieces.add_text(Segmenter(SplitRule::qwen2), text);
  const Tokenizer tokenizer = train_bpe(pieces, SplitRule::qwen2, 300);
  std::vector<std::uint32_t> ids;
  tokenizer.encode(text, ids);
  EXPECT_EQ(ids.size(), text.size());  // every digit is a piece, so nothing was merged
}

TEST(BpeTrainer, LayoutAndLimits) {
  const Tokenizer none = train(count(""), 1000);
  EXPECT_EQ(none.vocab_size(), 257u);
  EXPECT_EQ(none.end_of_text(), 256u);
  EXPECT_EQ(none.tokens()[0], "!");
  EXPECT_EQ(none.tokens()[188], std::string(1, '\0'));
  EXPECT_EQ(none.tokens()[220], " ");  // GPT-2's "Ġ"
  EXPECT_EQ(train(count(random_text(1, 500)), 260).vocab_size(), 260u);
  EXPECT_EQ(train(count("once"), 260).vocab_size(), 257u);  // no pair twice
}

}  // namespace
}  // namespace dualpath
