#include "data/text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "core/base/random.h"
#include "data/text/encoder.h"
#include "data/text/tokenizer_files.h"
#include "tests/expect_error.h"
#include "tests/random_text.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ids = std::vector<std::uint32_t>;

const char kFixture[] = DUALPATH_SOURCE_DIR "/tests/tokenizer_fixture";

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (const std::uint8_t byte : gpt2_byte_order()) tokens.emplace_back(1, static_cast<char>(byte));
  return tokens;
}

// The definition, on strings: the pair of the lowest rank, the leftmost of equals, again and again.
Ids naive_encode_piece(const Tokenizer& tokenizer, const std::string& piece) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (const auto& merge : tokenizer.merges()) {
    ranks.emplace(std::pair(tokenizer.tokens()[merge.left], tokenizer.tokens()[merge.right]),
                  ranks.size());
  }
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  while (true) {
    auto lowest = ranks.end();
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find({parts[i], parts[i + 1]});
      if (found == ranks.end()) continue;
      if (lowest == ranks.end() || found->second < lowest->second) {
        lowest = found;
        place = i;
      }
    }
    if (lowest == ranks.end()) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<long>(place) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) {
    ids.push_back(static_cast<std::uint32_t>(
        std::find(tokenizer.tokens().begin(), tokenizer.tokens().end(), part) -
        tokenizer.tokens().begin()));
  }
  return ids;
}

// Merges of a few letters in an order in which no training would find them.
Tokenizer shuffled_tokenizer(std::uint64_t seed) {
  const CounterRng rng(seed, "merges");
  std::vector<std::string> tokens = byte_tokens();
  std::map<std::string, std::uint32_t> ids;
  for (const char* letter : {"a", "b", "c"}) {
    const auto place = std::find(tokens.begin(), tokens.end(), letter);
    ids[letter] = static_cast<std::uint32_t>(place - tokens.begin());
  }
  std::vector<Merge> merges;
  std::set<std::pair<std::uint32_t, std::uint32_t>> pairs;
  for (std::uint64_t i = 0; i < 60; ++i) {
    const auto left = std::next(ids.begin(), static_cast<long>(rng.below(3 * i, ids.size())));
    const auto right = std::next(ids.begin(), static_cast<long>(rng.below(3 * i + 1, ids.size())));
    if (!pairs.emplace(left->second, right->second).second) continue;
    const std::string joined = left->first + right->first;
    const Merge merge{left->second, right->second,
                      ids.emplace(joined, tokens.size()).first->second};
    if (merge.result == tokens.size()) tokens.push_back(joined);
    const auto place = static_cast<long>(rng.below(3 * i + 2, merges.size() + 1));
    merges.insert(merges.begin() + place, merge);
  }
  tokens.emplace_back(end_of_text_name);
  const auto end_of_text = static_cast<std::uint32_t>(tokens.size() - 1);
  return Tokenizer({.tokens = tokens, .merges = merges, .end_of_text = end_of_text});
}

// The fixture was trained, and these ids computed, by Hugging Face's `tokenizers`.
TEST(Tokenizer, IdsOfTheReferenceImplementation) {
  const Tokenizer tokenizer = load_tokenizer(kFixture);
  EXPECT_EQ(tokenizer.vocab_size(), 357u);
  EXPECT_EQ(tokenizer.end_of_text(), 356u);
  EXPECT_THAT(encode(tokenizer, "The wide path thinks."), ElementsAre(296, 294, 270, 353, 13));
  EXPECT_THAT(
      encode(tokenizer, "They're deep  and\n\n wide; it's 2026!"),
      ElementsAre(296, 88, 6, 264, 295, 220, 275, 198, 198, 294, 26, 220, 283, 6, 82, 291, 21, 0));
  EXPECT_THAT(encode(tokenizer, "  Größe\tdes Café's: naïve Привет, 你好 🙂 "),
              ElementsAre(220, 220, 38, 310, 114, 346, 197, 259, 82, 220, 34, 343, 6, 82, 25, 220,
                          77, 64, 127, 107, 312, 355, 11, 220, 348, 220, 172, 253, 247, 224, 220));
  Ids repeated;
  for (int i = 0; i < 9; ++i) repeated.insert(repeated.end(), {256, 272, 306});
  EXPECT_EQ(encode(tokenizer, "thinksthinksthinksthinksthinksthinksthinksthinksthinks"), repeated);
}

TEST(Tokenizer, ShortAndLongPiecesFollowTheNaiveLoop) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Tokenizer tokenizer = shuffled_tokenizer(seed);
    const CounterRng rng(seed, "piece");
    for (const std::size_t length : {1, 2, 7, 64, 65, 200}) {
      std::string piece;
      for (std::size_t i = 0; i < length; ++i) piece += "abc"[rng.below(length * 1000 + i, 3)];
      Ids ids{77};  // what is there already stays
      tokenizer.encode_piece(piece, ids);
      Ids expected = naive_encode_piece(tokenizer, piece);
      expected.insert(expected.begin(), 77);
      EXPECT_EQ(ids, expected) << "seed " << seed << ": " << piece;
    }
  }
}

TEST(Tokenizer, EveryByteStringSurvives) {
  const Tokenizer tokenizer = load_tokenizer(kFixture);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const std::string& text : {random_bytes(seed, 300), random_text(seed, 100)}) {
      EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), text) << "seed " << seed;
    }
  }
}

TEST(Tokenizer, EncoderRemembersTheRightIds) {
  const Tokenizer tokenizer = load_tokenizer(kFixture);
  Encoder encoder(tokenizer);
  // Enough different pieces to share slots, and every text twice.
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const std::string text = random_text(seed / 2, 200) + random_bytes(seed / 2, 200);
    Ids ids;
    encoder.encode(text, ids);
    ASSERT_EQ(ids, encode(tokenizer, text)) << "seed " << seed;
  }
}

TEST(Tokenizer, TheSpecialTokenIsNotReadFromText) {
  const Tokenizer tokenizer = load_tokenizer(kFixture);
  const Ids ids = encode(tokenizer, end_of_text_name);
  EXPECT_GT(ids.size(), 1u);
  EXPECT_THAT(ids, ::testing::Each(::testing::Ne(tokenizer.end_of_text())));
  EXPECT_EQ(tokenizer.decode(ids), end_of_text_name);
  EXPECT_EQ(tokenizer.decode(Ids{tokenizer.end_of_text()}), end_of_text_name);
}

TEST(Tokenizer, RefusesToDecodeWhatItDoesNotHave) {
  const Tokenizer tokenizer = load_tokenizer(kFixture);
  EXPECT_THAT(error_of(ExitCode::data, [&] { tokenizer.decode(Ids{357}); }), HasSubstr("357"));
}

TEST(Tokenizer, TheHashSeesTokensMergesAndTheirOrder) {
  const auto tokenizer = [](std::vector<const char*> merged, bool swap, bool move_end) {
    std::vector<std::string> tokens = byte_tokens();
    const auto id_of = [&](const char* token) {
      return static_cast<std::uint32_t>(std::find(tokens.begin(), tokens.end(), token) -
                                        tokens.begin());
    };
    for (const char* token : merged) tokens.emplace_back(token);
    if (move_end) tokens.insert(tokens.begin(), std::string(end_of_text_name));
    if (!move_end) tokens.emplace_back(end_of_text_name);
    std::vector<Merge> merges;
    for (const char* token : merged) {
      const std::string left(1, token[0]);
      const std::string right(1, token[1]);
      merges.push_back({id_of(left.c_str()), id_of(right.c_str()), id_of(token)});
    }
    if (swap) std::swap(merges[0], merges[1]);
    const std::uint32_t end_of_text = id_of(std::string(end_of_text_name).c_str());
    return Tokenizer({.tokens = tokens, .merges = merges, .end_of_text = end_of_text}).hash();
  };
  const std::set<std::string> hashes = {
      tokenizer({"ab", "bc"}, false, false), tokenizer({"ab", "bd"}, false, false),
      tokenizer({"bc", "ab"}, false, false), tokenizer({"ab", "bc"}, true, false),
      tokenizer({"ab", "bc"}, false, true),  tokenizer({"ab"}, false, false)};
  EXPECT_EQ(hashes.size(), 6u);
  EXPECT_EQ(hashes.begin()->size(), 16u);
  EXPECT_EQ(tokenizer({"ab", "bc"}, false, false), tokenizer({"ab", "bc"}, false, false));
}

TEST(Tokenizer, TheHashSeesWhatDepartsFromGpt2) {
  const auto hash_with = [](const std::function<void(TokenizerParts&)>& change) {
    TokenizerParts parts{.tokens = byte_tokens(), .merges = {}, .end_of_text = 256};
    parts.tokens.insert(parts.tokens.end(), {"<|endoftext|>", "<tool>"});
    parts.added = {{.id = 256, .content = "<|endoftext|>"}, {.id = 257, .content = "<tool>"}};
    change(parts);
    return Tokenizer(std::move(parts)).hash();
  };
  const std::set<std::string> hashes = {
      hash_with([](TokenizerParts&) {}),
      hash_with([](TokenizerParts& parts) { parts.split = SplitRule::llama3; }),
      hash_with([](TokenizerParts& parts) { parts.split = SplitRule::qwen2; }),
      hash_with([](TokenizerParts& parts) { parts.nfc = true; }),
      hash_with([](TokenizerParts& parts) { parts.ignore_merges = true; }),
      hash_with([](TokenizerParts& parts) { parts.added[1].special = false; }),
      hash_with([](TokenizerParts& parts) { parts.added[1].normalized = true; }),
      hash_with([](TokenizerParts& parts) { parts.added.pop_back(); }),
      hash_with([](TokenizerParts& parts) { parts.end_of_text = 257; })};
  EXPECT_EQ(hashes.size(), 9u);
  EXPECT_EQ(hash_with([](TokenizerParts& parts) { std::swap(parts.added[0], parts.added[1]); }),
            hash_with([](TokenizerParts&) {}));
}

// Corpora and checkpoints of earlier versions record it.
TEST(Tokenizer, TheHashOfAGpt2TokenizerStays) {
  EXPECT_EQ(load_tokenizer(kFixture).hash(), "273566549e6ca7a9");
}

TEST(Tokenizer, RefusesPartsThatDoNotFit) {
  const auto message = [](const std::function<void(TokenizerParts&)>& change) {
    TokenizerParts parts{.tokens = byte_tokens(), .merges = {}, .end_of_text = 256};
    parts.tokens.insert(parts.tokens.end(), {"<|endoftext|>", "aa"});
    parts.merges = {{64, 64, 257}};
    change(parts);
    return error_of(ExitCode::data, [&] { Tokenizer tokenizer(std::move(parts)); });
  };
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.end_of_text = 258; }), HasSubstr("258"));
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.tokens[257] = "a"; }),
              HasSubstr("token 257 occurs twice"));
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.tokens[257] = "ab"; }),
              HasSubstr("merge 0 does not give token 257"));
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.merges[0].result = 256; }),
              HasSubstr("merge 0 names token 256"));
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.added = {{.id = 257, .content = "aa"}}; }),
              HasSubstr("merge 0 names token 257"));
  EXPECT_THAT(message([](TokenizerParts& parts) { parts.added = {{.id = 257, .content = "b"}}; }),
              HasSubstr("'b' is not token 257"));
  EXPECT_THAT(message([](TokenizerParts& parts) {
                parts.added = {{.id = 256, .content = "<|endoftext|>", .special = false}};
              }),
              HasSubstr("no special token"));
}

}  // namespace
}  // namespace dualpath
