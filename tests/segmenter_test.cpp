#include "data/text/segmenter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/expect_error.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Pieces as they are, added tokens as "[id]".
std::vector<std::string> segments(const Segmenter& segmenter, std::string_view text,
                                  SpecialTokens special = SpecialTokens::as_text) {
  std::vector<std::string> found;
  segmenter.segment(
      text, special, [&](std::string_view piece) { found.emplace_back(piece); },
      [&](std::uint32_t id) { found.push_back(fmt::format("[{}]", id)); });
  return found;
}

AddedToken special(std::uint32_t id, std::string content) {
  return {.id = id, .content = std::move(content)};
}

AddedToken ordinary(std::uint32_t id, std::string content, bool normalized = false) {
  return {.id = id, .content = std::move(content), .special = false, .normalized = normalized};
}

TEST(WordMatcher, LeftmostThenLongest) {
  const std::vector<std::string> words = {"ab", "abcd", "bc", "x"};
  const WordMatcher matcher(words);
  const auto found = [&](std::string_view text, std::size_t from) {
    const auto match = matcher.find(text, from);
    return match ? fmt::format("{}..{} {}", match->begin, match->end, words[match->word]) : "none";
  };
  EXPECT_EQ(found("zabcdz", 0), "1..5 abcd");
  EXPECT_EQ(found("zabcz", 0), "1..3 ab");
  EXPECT_EQ(found("zabcz", 2), "2..4 bc");
  EXPECT_EQ(found("abc", 1), "1..3 bc");
  EXPECT_EQ(found("a", 0), "none");
  EXPECT_EQ(found("", 0), "none");
  EXPECT_EQ(WordMatcher({}).find("ab", 0), std::nullopt);
}

TEST(Segmenter, SpecialTokensOnlyWhereTheyAreRecognized) {
  const Segmenter segmenter(SplitRule::gpt2, false, {special(7, "<s>"), ordinary(8, "<t>")});
  EXPECT_THAT(segments(segmenter, "a<s><t> b"), ElementsAre("a", "<", "s", ">", "[8]", " b"));
  EXPECT_THAT(segments(segmenter, "a<s><t> b", SpecialTokens::recognized),
              ElementsAre("a", "[7]", "[8]", " b"));
}

TEST(Segmenter, ASpecialTokenThatIsTextHidesWhatItOverlaps) {
  const Segmenter segmenter(SplitRule::gpt2, false, {special(7, "<s>"), ordinary(8, "s>")});
  EXPECT_THAT(segments(segmenter, "<s>s>"), ElementsAre("<", "s", ">", "[8]"));
}

TEST(Segmenter, WhatIsBetweenTokensIsSplitByItself) {
  const Segmenter segmenter(SplitRule::gpt2, false, {ordinary(8, "<t>")});
  // Without the token the last space would go with the word.
  EXPECT_THAT(segments(segmenter, "a  <t>b"), ElementsAre("a", "  ", "[8]", "b"));
}

TEST(Segmenter, NormalizesBetweenTokens) {
  const Segmenter segmenter(SplitRule::qwen2, true,
                            {ordinary(7, "e"), ordinary(8, "A\u030a", /*normalized=*/true)});
  EXPECT_THAT(segments(segmenter, "o\u0301 e\u0301"), ElementsAre("\u00f3", " ", "[7]", "\u0301"));
  EXPECT_THAT(segments(segmenter, "xA\u030a\u00c5\u212b"), ElementsAre("x", "[8]", "[8]", "[8]"));
}

TEST(Segmenter, SafeCuts) {
  const Segmenter plain(SplitRule::llama3);
  EXPECT_EQ(plain.last_safe_cut("word"), 0u);
  EXPECT_EQ(plain.last_safe_cut("  word"), 0u);
  EXPECT_EQ(plain.last_safe_cut("\u3000 word"), 0u);
  EXPECT_EQ(plain.last_safe_cut("one two  three"), 7u);
  EXPECT_EQ(plain.last_safe_cut("路\nx"), 3u);
  EXPECT_EQ(plain.last_safe_cut("?\nx"), 0u);
  EXPECT_EQ(Segmenter(SplitRule::gpt2).last_safe_cut("?\nx"), 1u);
  EXPECT_EQ(plain.last_safe_cut("\ufb2a\nx"), 3u);
  // Composed, U+FB2A ends with a mark.
  EXPECT_EQ(Segmenter(SplitRule::llama3, true).last_safe_cut("\ufb2a\nx"), 0u);
  EXPECT_EQ(Segmenter(SplitRule::llama3, true).last_safe_cut("\u00e9\nx"), 2u);
}

TEST(Segmenter, NoCutWhereAnAddedTokenMayHoldASpace) {
  EXPECT_EQ(Segmenter(SplitRule::gpt2, false, {ordinary(1, "one two")}).last_safe_cut("a b"), 0u);
  EXPECT_EQ(Segmenter(SplitRule::gpt2, false, {ordinary(1, "  ")}).last_safe_cut("a  b"), 1u);
}

TEST(Segmenter, RefusesATokenTwice) {
  EXPECT_THAT(error_of(ExitCode::data,
                       [] {
                         Segmenter(SplitRule::qwen2, true,
                                   {ordinary(1, "\u00e9", true), ordinary(2, "e\u0301", true)});
                       }),
              HasSubstr("given twice"));
}

}  // namespace
}  // namespace dualpath
