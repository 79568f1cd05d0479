#include "data/text/text_reader.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/expect_error.h"
#include "tests/random_text.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const Segmenter kSegmenter(SplitRule::gpt2);

std::string write(const std::string& path, std::string_view content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::vector<std::string> documents(const std::vector<std::string>& inputs,
                                   const std::string& field = "text",
                                   const std::string& separator = "") {
  TextReader reader(find_text_files(inputs).files, field, kSegmenter, separator);
  std::vector<std::string> found;
  bool begins = true;
  for (TextPart part; reader.next(part);) {
    EXPECT_FALSE(part.text.empty());
    if (begins) found.emplace_back();
    found.back() += part.text;
    begins = part.ends_document;
  }
  EXPECT_TRUE(begins) << "the last document has no end";
  return found;
}

std::string read_error(const std::string& path) {
  return error_of(ExitCode::data, [&] { documents({path}); });
}

class TextReaderTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
};

TEST_F(TextReaderTest, OneFileIsOneDocument) {
  EXPECT_THAT(documents({write(folder_ / "a.txt", "one\n\ntwo\n"), write(folder_ / "b", "three")}),
              ElementsAre("one\n\ntwo\n", "three"));
}

TEST_F(TextReaderTest, OneLineOfJsonIsOneDocument) {
  const std::string lines =
      "{\"text\": \"one\\n\\u00e9\", \"title\": \"1\"}\r\n\n{\"title\": \"2\", \"text\": \"\"}\n"
      "{\"title\": \"3\", \"text\": \"three\"}";
  const std::string path = write(folder_ / "a.jsonl", lines);
  EXPECT_THAT(documents({path}), ElementsAre("one\né", "three"));
  EXPECT_THAT(documents({path}, "title"), ElementsAre("1", "2", "3"));
}

TEST_F(TextReaderTest, CompressedFiles) {
  const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  EXPECT_THAT(documents({write(folder_ / "a.jsonl.gz", gzip(lines)),
                         write(folder_ / "a.jsonl.zst", zstd(lines)),
                         write(folder_ / "b.txt.gz", gzip("three") + gzip(" four")),
                         write(folder_ / "c.dict.dz", gzip("five")),
                         write(folder_ / "d.zst", zstd("six") + zstd(" seven"))}),
              ElementsAre("one", "two", "one", "two", "three four", "five", "six seven"));
}

TEST_F(TextReaderTest, FoldersAreSortedAndDeep) {
  write(folder_ / "in/b.txt", "b");
  write(folder_ / "in/a/z.jsonl.zst", zstd("{\"text\": \"a/z\"}"));
  write(folder_ / "in/c.md.gz", gzip("c"));
  write(folder_ / "in/picture.png", "no text");
  const TextFiles found = find_text_files(std::vector<std::string>{folder_ / "in"});
  EXPECT_EQ(found.files.size(), 3u);
  EXPECT_THAT(found.passed_over, ElementsAre(EndsWith("picture.png")));
  EXPECT_THAT(documents({folder_ / "in"}), ElementsAre("a/z", "b", "c"));
}

// Loops of symbolic links ended tokenize.
TEST_F(TextReaderTest, EachFolderIsReadOnceWhateverLinksLeadThere) {
  namespace fs = std::filesystem;
  write(folder_ / "in/b/b.txt", "b");
  write(folder_ / "elsewhere/c.txt", "c");
  fs::create_directory_symlink(".", folder_ / "in/a_loop");
  fs::create_directory_symlink("../b", folder_ / "in/b/loop");
  fs::create_directory_symlink("b", folder_ / "in/a_link");
  fs::create_directory_symlink("../elsewhere", folder_ / "in/c_link");
  fs::create_symlink("itself", folder_ / "in/itself");
  fs::create_symlink("nothing", folder_ / "in/gone.txt");
  const TextFiles found = find_text_files(std::vector<std::string>{folder_ / "in"});
  EXPECT_THAT(found.files, ElementsAre(folder_ / "in/b/b.txt", folder_ / "in/c_link/c.txt"));
  EXPECT_THAT(found.met_again, UnorderedElementsAre(EndsWith("in/a_loop"), EndsWith("in/b/loop"),
                                                    EndsWith("in/a_link")));
  EXPECT_THAT(found.dangling, UnorderedElementsAre(EndsWith("itself"), EndsWith("gone.txt")));
}

TEST_F(TextReaderTest, SeparatorsCutTextIntoDocuments) {
  const auto cut = [&](const std::string& text, const std::string& separator) {
    return documents({write(folder_ / "a.txt", text)}, "text", separator);
  };
  EXPECT_THAT(cut("one|two|", "|"), ElementsAre("one", "two"));
  EXPECT_THAT(cut("||one||", "|"), ElementsAre("one"));
  EXPECT_THAT(cut("one\n<|end|>\ntwo<|end|>\r\n\nthree<|end|", "<|end|>"),
              ElementsAre("one\n", "two", "\nthree<|end|"));
  EXPECT_THAT(cut("|||", "|"), IsEmpty());
  EXPECT_THAT(documents({write(folder_ / "a.jsonl", "{\"text\": \"a|b\"}")}, "text", "|"),
              ElementsAre("a|b"));
}

// Where parts of a long text meet, too.
TEST_F(TextReaderTest, SeparatorsAreFoundWhereverTheyStand) {
  const std::string separator = "\n\n* * *\n";
  std::string text;
  std::vector<std::string> wanted;
  for (std::size_t size : {1'048'570, 3, 1'048'576, 200'000, 1'048'560, 2'097'152, 1}) {
    std::string document;
    while (document.size() < size) document += "some words\n\n* * ";
    document.resize(size, 'x');
    document.back() = 'x';
    text += (text.empty() ? "" : separator) + document;
    wanted.push_back(document);
  }
  EXPECT_EQ(documents({write(folder_ / "a.txt", text)}, "text", separator), wanted);
}

TEST_F(TextReaderTest, ByteOrderMarks) {
  EXPECT_THAT(documents({write(folder_ / "a.txt", "\xef\xbb\xbfone\xef\xbb\xbf\r\n"),
                         write(folder_ / "b.txt", "\xef\xbb\xbf"), write(folder_ / "c.txt", "\xef"),
                         write(folder_ / "d.jsonl", "\xef\xbb\xbf{\"text\": \"two\"}\r\n")}),
              ElementsAre("one\xef\xbb\xbf\r\n", "\xef", "two"));
  for (const char* mark : {"\xff\xfe", "\xfe\xff"}) {
    EXPECT_THAT(read_error(write(folder_ / "a.txt", std::string(mark) + "o")),
                AllOf(HasSubstr("a.txt: "), HasSubstr("UTF-16"), HasSubstr("iconv")));
  }
}

TEST_F(TextReaderTest, LargeFilesComeInParts) {
  std::string text;
  for (std::uint64_t seed = 0; text.size() < 5'000'000; ++seed) text += random_text(seed, 1000);
  const std::string path = write(folder_ / "a.txt.zst", zstd(text));
  EXPECT_THAT(documents({path}), ElementsAre(text));

  TextReader reader({path}, "text", kSegmenter);
  std::vector<bool> ends;
  for (TextPart part; reader.next(part);) {
    EXPECT_LT(part.text.size(), std::size_t{3} << 20);
    ends.push_back(part.ends_document);
  }
  EXPECT_GE(ends.size(), 3u);
  EXPECT_TRUE(ends.back());
  EXPECT_EQ(std::count(ends.begin(), ends.end(), true), 1);
  EXPECT_EQ(reader.stored_bytes_read(), std::filesystem::file_size(path));
}

TEST_F(TextReaderTest, TextWithoutASafeCutStaysWhole) {
  const std::string text(3'000'000, 'x');
  EXPECT_THAT(documents({write(folder_ / "a.txt", text)}), ElementsAre(text));
}

TEST_F(TextReaderTest, LongLinesOfJson) {
  const std::string text(3'000'000, 'x');
  const std::string line = "{\"text\": \"" + text + "\"}\n";
  EXPECT_THAT(documents({write(folder_ / "a.jsonl", line + "{\"text\": \"y\"}\n" + line)}),
              ElementsAre(text, "y", text));
}

TEST_F(TextReaderTest, BadLinesAreNamed) {
  const std::string good = "{\"text\": \"fine\"}\n\n";
  const auto error = [&](const std::string& line) {
    return read_error(write(folder_ / "a.jsonl", good + line + "\n" + good));
  };
  EXPECT_THAT(error("{\"text\": \"cut"),
              AllOf(HasSubstr("a.jsonl:3: column 14"), HasSubstr("string")));
  EXPECT_THAT(error("{\"text\": \"\xff\"}"), HasSubstr("a.jsonl:3: column"));
  EXPECT_THAT(
      error("{\"body\": \"x\"}"),
      AllOf(HasSubstr("a.jsonl:3: "), HasSubstr("no field 'text'"), HasSubstr("text_field=")));
  EXPECT_THAT(error("{\"text\": 5}"), HasSubstr("a.jsonl:3: the field 'text' is number"));
  EXPECT_THAT(error("[1]"), HasSubstr("a.jsonl:3: array"));
}

TEST_F(TextReaderTest, CompressedFilesCutShortAreNamed) {
  const std::string text = random_bytes(1, 100'000);
  for (const std::size_t kept : {5, 50, 60'000}) {
    EXPECT_THAT(read_error(write(folder_ / "a.txt.gz", gzip(text).substr(0, kept))),
                AllOf(HasSubstr("a.txt.gz"), HasSubstr("cut short")))
        << kept;
    EXPECT_THAT(read_error(write(folder_ / "a.txt.zst", zstd(text).substr(0, kept))),
                AllOf(HasSubstr("a.txt.zst"), HasSubstr("cut short")))
        << kept;
  }
}

TEST_F(TextReaderTest, DamagedCompressedFilesAreNamed) {
  EXPECT_THAT(read_error(write(folder_ / "a.txt.gz", "plain")), HasSubstr("a.txt.gz"));
  EXPECT_THAT(read_error(write(folder_ / "a.txt.gz", "")), HasSubstr("a.txt.gz"));
  EXPECT_THAT(read_error(write(folder_ / "a.txt.zst", "plain")), HasSubstr("a.txt.zst"));
  EXPECT_THAT(read_error(write(folder_ / "a.txt.zst", "")), HasSubstr("a.txt.zst"));
  std::string damaged = gzip(std::string(10'000, 'x') + random_bytes(1, 10'000));
  damaged[damaged.size() - 6] ^= 1;  // its checksum
  EXPECT_THAT(read_error(write(folder_ / "a.txt.gz", damaged)), HasSubstr("a.txt.gz"));
  // A stream behind the first that has lost its beginning was passed over.
  EXPECT_THAT(read_error(write(folder_ / "a.txt.gz", gzip("one") + gzip("two").substr(1))),
              HasSubstr("a.txt.gz: goes on with what is not in gzip format"));
  EXPECT_THAT(documents({write(folder_ / "a.txt.gz", gzip("one") + std::string(999, '\0'))}),
              ElementsAre("one"));
}

TEST_F(TextReaderTest, MissingInputs) {
  EXPECT_THAT(read_error(folder_ / "none.txt"), HasSubstr("none.txt: no such file or folder"));
  write(folder_ / "in/picture.png", "no text");
  EXPECT_THAT(read_error(folder_ / "in"), AllOf(HasSubstr("/in: no file"), HasSubstr(".txt")));
  EXPECT_THAT(read_error("/dev/null"), HasSubstr("/dev/null: neither a file nor a folder"));
}

}  // namespace
}  // namespace dualpath
