#include "data/text/text_split.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Segmenter kSegmenter(SplitRule::gpt2);

struct Sides {
  std::vector<std::string> training, held_out;
};

// One file a document.
Sides split(const std::vector<std::string>& documents, double fraction) {
  const TemporaryFolder folder;
  std::vector<std::filesystem::path> files;
  for (const std::string& document : documents) {
    files.emplace_back(folder / std::to_string(files.size()));
    std::ofstream(files.back(), std::ios::binary) << document;
  }
  TextExtent extent;
  TextReader reader(files, "text", kSegmenter);
  for (TextPart part; reader.next(part);) extent.add(part);

  SplitReader splitter(TextReader(files, "text", kSegmenter), extent, fraction);
  Sides sides;
  bool begins = true;
  for (TextPart part; splitter.next(part);) {
    auto& side = splitter.is_held_out() ? sides.held_out : sides.training;
    if (begins) side.emplace_back();
    EXPECT_FALSE(side.empty()) << "a document goes on on the other side";
    side.back() += part.text;
    begins = part.ends_document;
  }
  EXPECT_TRUE(begins);
  return sides;
}

TEST(TextSplit, NothingHeldOut) {
  const Sides sides = split({"one\ntwo\n", "three\n"}, 0);
  EXPECT_THAT(sides.training, ElementsAre("one\ntwo\n", "three\n"));
  EXPECT_THAT(sides.held_out, IsEmpty());
}

TEST(TextSplit, DocumentsThatBeginInTheLastPart) {
  const std::vector<std::string> documents = {"aaaaa\n", "bbb\nbb", "cccccc", "dd"};  // 20 bytes
  for (const double fraction : {0.1, 0.35}) {  // the split lies at 18, at 13 within "cccccc"
    const Sides sides = split(documents, fraction);
    EXPECT_THAT(sides.training, ElementsAre("aaaaa\n", "bbb\nbb", "cccccc"));
    EXPECT_THAT(sides.held_out, ElementsAre("dd"));
  }
  EXPECT_THAT(split(documents, 0.4).held_out, ElementsAre("cccccc", "dd"));  // at 12
  EXPECT_THAT(split(documents, 0.7).held_out, ElementsAre("bbb\nbb", "cccccc", "dd"));
}

TEST(TextSplit, LinesOfTheLastDocument) {
  const std::vector<std::string> documents = {"one\n", "12345\n78\n01\n34\n"};  // 4 + 15 bytes
  // 0.32 · 19 = 6.08: the split lies at byte 13, where "01" begins.
  Sides sides = split(documents, 0.32);
  EXPECT_THAT(sides.training, ElementsAre("one\n", "12345\n78\n"));
  EXPECT_THAT(sides.held_out, ElementsAre("01\n34\n"));
  // 0.27 · 19 = 5.13: at byte 14, in the midst of "01".
  sides = split(documents, 0.27);
  EXPECT_THAT(sides.training, ElementsAre("one\n", "12345\n78\n01\n"));
  EXPECT_THAT(sides.held_out, ElementsAre("34\n"));
  EXPECT_THAT(split(documents, 0.1).held_out, IsEmpty());  // no line begins there
  EXPECT_THAT(split({"no line's end"}, 0.5).held_out, IsEmpty());
}

TEST(TextSplit, LinesOfADocumentInManyParts) {
  std::string text;
  for (int line = 0; line < 600'000; ++line) text += fmt::format("line {}\n", line);
  for (const double fraction : {0.02, 0.5, 0.9}) {
    const Sides sides = split({text}, fraction);
    ASSERT_EQ(sides.training.size(), 1u);
    ASSERT_EQ(sides.held_out.size(), 1u);
    EXPECT_EQ(sides.training[0] + sides.held_out[0], text);
    EXPECT_TRUE(sides.held_out[0].starts_with("line "));
    const double size = static_cast<double>(sides.held_out[0].size());
    EXPECT_LE(size, fraction * static_cast<double>(text.size()));
    EXPECT_GT(size, fraction * static_cast<double>(text.size()) - 13);
  }
}

}  // namespace
}  // namespace dualpath
