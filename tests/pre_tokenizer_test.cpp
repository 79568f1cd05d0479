#include "data/text/pre_tokenizer.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <utf8proc.h>
#include <vector>

#include "data/text/unicode_tables.h"
#include "data/text/utf8.h"
#include "tests/random_text.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> pieces_of(std::string_view text, SplitRule rule = SplitRule::gpt2) {
  const PreTokenizer pre_tokenizer(rule);
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

TEST(PreTokenizer, LlamaTakesAnyCharacterAlongAndLineEndsBehindSigns) {
  const auto pieces = [](std::string_view text) { return pieces_of(text, SplitRule::llama3); };
  EXPECT_THAT(pieces("Hello world (ok)\tx"),
              ElementsAre("Hello", " world", " (", "ok", ")", "\tx"));
  EXPECT_THAT(pieces("x?!\n\r\ny"), ElementsAre("x", "?!\n\r\n", "y"));
  EXPECT_THAT(pieces("x ?\n"), ElementsAre("x", " ?\n"));
  EXPECT_THAT(pieces("a\nb"), ElementsAre("a", "\n", "b"));  // a line end is not taken along
  EXPECT_THAT(pieces("$a #b\u3000c"), ElementsAre("$a", " #", "b", "\u3000c"));
  EXPECT_THAT(pieces("a\xff"
                     "b"),
              ElementsAre("a",
                          "\xff"
                          "b"));
}

TEST(PreTokenizer, LlamaSpaces) {
  const auto pieces = [](std::string_view text) { return pieces_of(text, SplitRule::llama3); };
  EXPECT_THAT(pieces("a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
  EXPECT_THAT(pieces("a   \n"), ElementsAre("a", "   \n"));
  EXPECT_THAT(pieces("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(pieces("a   1"), ElementsAre("a", "  ", " ", "1"));
  EXPECT_THAT(pieces("a\u2028\u2028b"), ElementsAre("a", "\u2028", "\u2028b"));
}

TEST(PreTokenizer, LlamaContractionsInAnyCase) {
  const auto pieces = [](std::string_view text) { return pieces_of(text, SplitRule::llama3); };
  EXPECT_THAT(pieces("IT'S we'Ll"), ElementsAre("IT", "'S", " we", "'Ll"));
  EXPECT_THAT(pieces("'\u017fo"), ElementsAre("'\u017f", "o"));  // the long s
  EXPECT_THAT(pieces("'xs 'r"), ElementsAre("'xs", " '", "r"));
}

TEST(PreTokenizer, DigitsInThreesAndAlone) {
  EXPECT_THAT(pieces_of("1234567 89", SplitRule::llama3),
              ElementsAre("123", "456", "7", " ", "89"));
  EXPECT_THAT(pieces_of("123٣ 4", SplitRule::qwen2), ElementsAre("1", "2", "3", "٣", " ", "4"));
}

TEST(PreTokenizer, SafeCutsKeepThePieces) {
  for (const SplitRule rule : {SplitRule::gpt2, SplitRule::llama3, SplitRule::qwen2}) {
    const PreTokenizer pre_tokenizer(rule);
    int cuts = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      const std::string text = seed % 2 == 0 ? random_text(seed, 12) : random_bytes(seed, 60);
      for (std::size_t cut = 1; cut < text.size(); ++cut) {
        if (!pre_tokenizer.is_safe_cut(text, cut)) continue;
        ++cuts;
        auto pieces = pieces_of(text.substr(0, cut), rule);
        for (const auto& piece : pieces_of(text.substr(cut), rule)) pieces.push_back(piece);
        EXPECT_EQ(pieces, pieces_of(text, rule)) << "seed " << seed << ", cut at " << cut;
      }
    }
    EXPECT_GT(cuts, 100);
  }
}

// Whatever Unicode version the system's library has: a code point does not change its class.
TEST(PreTokenizer, TheTablesAreUnicodes) {
  std::vector<char> classes(num_code_points, 'o');
  for (const auto& [first, last] : letter_ranges()) {
    std::fill(classes.begin() + first, classes.begin() + last + 1, 'L');
  }
  for (const auto& [first, last] : number_ranges()) {
    std::fill(classes.begin() + first, classes.begin() + last + 1, 'N');
  }
  constexpr std::uint32_t full_blocks_end = 0x530;  // hardly a code point is left to be assigned
  for (std::uint32_t c = 0; c < num_code_points; ++c) {
    const char* category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
    const bool is_unassigned = std::string_view(category) == "Cn";
    if (is_unassigned) continue;
    if (classes[c] != 'o') {
      EXPECT_EQ(classes[c], category[0]) << c;
    } else if (c < full_blocks_end) {
      EXPECT_TRUE(category[0] != 'L' && category[0] != 'N') << c;
    }
  }
}

}  // namespace
}  // namespace dualpath
