#include "data/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "core/random.h"
#include "data/tokenizer_files.h"
#include "tests/expect_error.h"
#include "tests/random_text.h"
#include "tests/temporary_folder.h"

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

// The reference implementation's loop, on strings: the pair of the lowest rank, everywhere.
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
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find({parts[i], parts[i + 1]});
      if (found != ranks.end() && (lowest == ranks.end() || found->second < lowest->second)) {
        lowest = found;
      }
    }
    if (lowest == ranks.end()) break;
    std::vector<std::string> merged;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i + 1 < parts.size() && std::pair(parts[i], parts[i + 1]) == lowest->first) {
        merged.push_back(parts[i] + parts[i + 1]);
        ++i;
      } else {
        merged.push_back(parts[i]);
      }
    }
    parts = merged;
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
  std::vector<Tokenizer::Merge> merges;
  std::set<std::pair<std::uint32_t, std::uint32_t>> pairs;
  for (std::uint64_t i = 0; i < 60; ++i) {
    const auto left = std::next(ids.begin(), static_cast<long>(rng.below(3 * i, ids.size())));
    const auto right = std::next(ids.begin(), static_cast<long>(rng.below(3 * i + 1, ids.size())));
    if (!pairs.emplace(left->second, right->second).second) continue;
    const std::string joined = left->first + right->first;
    const Tokenizer::Merge merge{left->second, right->second,
                                 ids.emplace(joined, tokens.size()).first->second};
    if (merge.result == tokens.size()) tokens.push_back(joined);
    const auto place = static_cast<long>(rng.below(3 * i + 2, merges.size() + 1));
    merges.insert(merges.begin() + place, merge);
  }
  tokens.emplace_back(end_of_text_name);
  const auto end_of_text = static_cast<std::uint32_t>(tokens.size() - 1);
  return Tokenizer(std::move(tokens), std::move(merges), end_of_text);
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
    for (const std::size_t length : {1, 2, 7, 32, 33, 200}) {
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

TEST(Tokenizer, FilesKeepEverything) {
  const TemporaryFolder folder;
  const Tokenizer before = shuffled_tokenizer(1);
  save_tokenizer(before, folder.path());
  for (const std::string& path : {folder.path(), folder / "vocab.json"}) {
    const Tokenizer after = load_tokenizer(path);
    EXPECT_TRUE(std::ranges::equal(after.tokens(), before.tokens()));
    EXPECT_TRUE(std::ranges::equal(after.merges(), before.merges()));
    EXPECT_EQ(after.end_of_text(), before.end_of_text());
    EXPECT_EQ(after.hash(), before.hash());
  }
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
    std::vector<Tokenizer::Merge> merges;
    for (const char* token : merged) {
      const std::string left(1, token[0]);
      const std::string right(1, token[1]);
      merges.push_back({id_of(left.c_str()), id_of(right.c_str()), id_of(token)});
    }
    if (swap) std::swap(merges[0], merges[1]);
    return Tokenizer(tokens, merges, id_of(std::string(end_of_text_name).c_str())).hash();
  };
  const std::set<std::string> hashes = {
      tokenizer({"ab", "bc"}, false, false), tokenizer({"ab", "bd"}, false, false),
      tokenizer({"bc", "ab"}, false, false), tokenizer({"ab", "bc"}, true, false),
      tokenizer({"ab", "bc"}, false, true),  tokenizer({"ab"}, false, false)};
  EXPECT_EQ(hashes.size(), 6u);
  EXPECT_EQ(hashes.begin()->size(), 16u);
  EXPECT_EQ(tokenizer({"ab", "bc"}, false, false), tokenizer({"ab", "bc"}, false, false));
}

class TokenizerFiles : public testing::Test {
 protected:
  void SetUp() override { save_tokenizer(shuffled_tokenizer(1), folder_.path()); }

  // The message of loading after `from` in the file became `to`.
  std::string load_error(const std::string& name, const std::string& from, const std::string& to) {
    std::ifstream in(folder_ / name, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    const std::size_t place = text.find(from);
    EXPECT_NE(place, text.npos) << from;
    text.replace(place, from.size(), to);
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); });
  }

  TemporaryFolder folder_;
};

TEST_F(TokenizerFiles, MissingFile) {
  std::filesystem::remove(folder_ / "merges.txt");
  EXPECT_THAT(error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); }),
              HasSubstr("merges.txt"));
  EXPECT_THAT(error_of(ExitCode::data, [&] { load_tokenizer(folder_ / "none"); }),
              HasSubstr("none"));
}

TEST_F(TokenizerFiles, BrokenJson) {
  EXPECT_THAT(load_error("vocab.json", "{", "["), HasSubstr("vocab.json"));
}

TEST_F(TokenizerFiles, IdTwice) {
  EXPECT_THAT(load_error("vocab.json", "\"b\": 65", "\"b\": 64"),
              HasSubstr("id 64 is given twice"));
}

TEST_F(TokenizerFiles, IdTooLarge) {
  EXPECT_THAT(load_error("vocab.json", "\"b\": 65", "\"b\": 9999"),
              HasSubstr("the id of 'b' is 9999"));
}

TEST_F(TokenizerFiles, ByteWithoutToken) {
  EXPECT_THAT(load_error("vocab.json", "\"d\": 67", "\"dd\": 67"), HasSubstr("byte 0x64"));
}

TEST_F(TokenizerFiles, NotAByteCharacter) {
  EXPECT_THAT(load_error("vocab.json", "\"d\": 67", "\"路\": 67"), HasSubstr("'路' (id 67)"));
}

TEST_F(TokenizerFiles, NoEndOfText) {
  EXPECT_THAT(load_error("vocab.json", "<|endoftext|>", "<|end|>"), HasSubstr("<|endoftext|>"));
}

TEST_F(TokenizerFiles, MergeOfUnknownTokens) {
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\nx yz\n"),
              HasSubstr("merges.txt:2"));
}

TEST_F(TokenizerFiles, MergeLineWithoutTwoTokens) {
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\na b c\n"),
              HasSubstr("'a b c'"));
}

TEST_F(TokenizerFiles, MergeTwice) {
  std::string line;
  std::ifstream file(folder_ / "merges.txt");
  std::getline(file, line);
  std::getline(file, line);
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\n" + line + "\n"),
              HasSubstr("occurs twice"));
}

}  // namespace
}  // namespace dualpath
