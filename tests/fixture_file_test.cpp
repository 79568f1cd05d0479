#include "tests/fixture_file.h"

#include <cstring>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dualpath {
namespace {

using ::testing::ElementsAre;

const char kHeader[] = R"({"__metadata__":{"model":"layers: 2\n"},)"
                       R"("a.x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},)"
                       R"("a.y":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},)"
                       R"("ids":{"dtype":"I32","shape":[1,2,1],"data_offsets":[24,32]}})";

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string file_content() {
  std::string bytes;
  append(bytes, std::uint64_t{sizeof kHeader - 1});
  bytes += kHeader;
  append(bytes, 0.1);
  append(bytes, -1e300);
  append(bytes, 1.5f);
  append(bytes, -2.0f);
  append(bytes, -1);
  append(bytes, 7);
  return bytes;
}

FixtureFile fixture_of(const std::string& content) {
  const std::string path = testing::TempDir() + "fixture_file_test.safetensors";
  std::ofstream(path, std::ios::binary) << content;
  return FixtureFile(path);
}

TEST(FixtureFile, ReadsEveryTypeShapeAndTheMetadata) {
  const FixtureFile file = fixture_of(file_content());
  EXPECT_THAT(file.names(), ElementsAre("a.x", "a.y", "ids"));
  EXPECT_THAT(file.names("a."), ElementsAre("a.x", "a.y"));
  EXPECT_THAT(file.reals("a.x"), ElementsAre(0.1, -1e300));
  EXPECT_THAT(file.reals("a.y"), ElementsAre(1.5, -2.0));
  EXPECT_THAT(file.integers("ids"), ElementsAre(-1, 7));
  EXPECT_EQ(file.shape("ids"), Shape({1, 2, 1}));
  EXPECT_EQ(file.metadata("model"), "layers: 2\n");
  EXPECT_TRUE(file.contains("ids"));
  EXPECT_FALSE(file.contains("__metadata__"));
}

TEST(FixtureFile, RefusesAFileCutAnywhere) {
  const std::string whole = file_content();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(fixture_of(whole.substr(0, size)), Error) << size << " of " << whole.size();
  }
}

TEST(FixtureFile, RefusesAnotherTypeAndUnknownNames) {
  const FixtureFile file = fixture_of(file_content());
  EXPECT_THROW(file.integers("a.x"), Error);
  EXPECT_THROW(file.reals("ids"), Error);
  EXPECT_THROW(file.reals("b"), Error);
  EXPECT_THROW(file.metadata("b"), Error);
}

TEST(FixtureFile, RefusesOffsetsThatDoNotFitTheShape) {
  std::string content = file_content();
  content.replace(content.find("\"shape\":[2]") + 9, 1, "3");
  EXPECT_THROW(fixture_of(content), Error);
}

}  // namespace
}  // namespace dualpath
