#include "data/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/random_text.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> pieces_of(std::string_view text) {
  static const PreTokenizer pre_tokenizer;
  std::vector<std::string> pieces;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = pre_tokenizer.piece_end(text, begin);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

TEST(PreTokenizer, WordsTakeOneSpaceAlong) {
  EXPECT_THAT(pieces_of(""), IsEmpty());
  EXPECT_THAT(pieces_of("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(pieces_of("x2  y3"), ElementsAre("x", "2", " ", " y", "3"));
  EXPECT_THAT(pieces_of(" 12.5%, (ok)"), ElementsAre(" 12", ".", "5", "%,", " (", "ok", ")"));
  // Only U+0020 is taken along.
  EXPECT_THAT(pieces_of("a\tb\n\nc"), ElementsAre("a", "\t", "b", "\n", "\n", "c"));
}

TEST(PreTokenizer, Contractions) {
  EXPECT_THAT(pieces_of("it's we'll they've I'm you're he'd can't"),
              ElementsAre("it", "'s", " we", "'ll", " they", "'ve", " I", "'m", " you", "'re",
                          " he", "'d", " can", "'t"));
  // The pattern knows them in lower case only, takes them anywhere, and not behind a space.
  EXPECT_THAT(pieces_of("IT'S"), ElementsAre("IT", "'", "S"));
  EXPECT_THAT(pieces_of("'still"), ElementsAre("'s", "till"));
  EXPECT_THAT(pieces_of("a 'r l'l"), ElementsAre("a", " '", "r", " l", "'", "l"));
  EXPECT_THAT(pieces_of("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(pieces_of("'v"), ElementsAre("'", "v"));
}

TEST(PreTokenizer, RunsOfSpaces) {
  EXPECT_THAT(pieces_of("   "), ElementsAre("   "));
  EXPECT_THAT(pieces_of("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(pieces_of("a    b"), ElementsAre("a", "   ", " b"));
  EXPECT_THAT(pieces_of("a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(pieces_of("a  \nb"), ElementsAre("a", "  ", "\n", "b"));
  EXPECT_THAT(pieces_of("\u00a0\u3000x"), ElementsAre("\u00a0", "\u3000", "x"));
  EXPECT_THAT(pieces_of(" \u2028\u0085x"), ElementsAre(" \u2028", "\u0085", "x"));
}

TEST(PreTokenizer, UnicodeClasses) {
  EXPECT_THAT(pieces_of("naïve путь 你好"), ElementsAre("naïve", " путь", " 你好"));
  EXPECT_THAT(pieces_of("x²٣Ⅷ½y"), ElementsAre("x", "²٣Ⅷ½", "y"));
  EXPECT_THAT(pieces_of("a🙂👩‍🚀b"), ElementsAre("a", "🙂👩‍🚀", "b"));
  // A combining mark is no letter; the information separators are no white space.
  EXPECT_THAT(pieces_of("e\u0301a"), ElementsAre("e", "\u0301", "a"));
  EXPECT_THAT(pieces_of("a\x1c\x1f b"), ElementsAre("a", "\x1c\x1f", " b"));
  EXPECT_THAT(pieces_of(std::string_view("a\0b", 3)), ElementsAre("a", std::string(1, '\0'), "b"));
}

TEST(PreTokenizer, BrokenUtf8IsNeitherLetterNorSpace) {
  EXPECT_THAT(pieces_of("a\xff\xfe"
                        "b"),
              ElementsAre("a", "\xff\xfe", "b"));
  EXPECT_THAT(pieces_of("a\xc3"), ElementsAre("a", "\xc3"));  // cut "é"
  EXPECT_THAT(pieces_of("\xe4\xbd"
                        "a"),
              ElementsAre("\xe4\xbd", "a"));  // cut "你"
  EXPECT_THAT(pieces_of("\xc1\x81"
                        "A"),
              ElementsAre("\xc1\x81", "A"));  // overlong "A"
  EXPECT_THAT(pieces_of("\xed\xa0\x80"
                        "a"),
              ElementsAre("\xed\xa0\x80", "a"));  // surrogate
}

TEST(PreTokenizer, SafeCutsKeepThePieces) {
  const PreTokenizer pre_tokenizer;
  int cuts = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const std::string text = seed % 2 == 0 ? random_text(seed, 12) : random_bytes(seed, 60);
    const std::size_t cut = pre_tokenizer.last_safe_cut(text);
    if (cut == 0) continue;
    ++cuts;
    auto pieces = pieces_of(text.substr(0, cut));
    for (const std::string& piece : pieces_of(text.substr(cut))) pieces.push_back(piece);
    EXPECT_EQ(pieces, pieces_of(text)) << "seed " << seed << ", cut at " << cut;
  }
  EXPECT_GT(cuts, 100);
}

TEST(PreTokenizer, NoSafeCutWithinAWordOrBeforeOne) {
  const PreTokenizer pre_tokenizer;
  EXPECT_EQ(pre_tokenizer.last_safe_cut("word"), 0u);
  EXPECT_EQ(pre_tokenizer.last_safe_cut("  word"), 0u);
  EXPECT_EQ(pre_tokenizer.last_safe_cut("\u3000 word"), 0u);
  EXPECT_EQ(pre_tokenizer.last_safe_cut("one two  three"), 7u);
  EXPECT_EQ(pre_tokenizer.last_safe_cut("路\nx"), 3u);
}

}  // namespace
}  // namespace dualpath
