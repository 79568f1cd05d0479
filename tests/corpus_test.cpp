#include "data/tokens/corpus.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint32_t end_of_document = 99;

// Documents of 1, 2, 3, ... tokens, counted up modulo 90; shards of at most 50 tokens.
CorpusManifest write_corpus(const std::string& folder, std::uint32_t documents) {
  CorpusWriter writer(folder, {"abc", 100, end_of_document}, 50);
  std::uint32_t next = 0;
  for (std::uint32_t length = 1; length <= documents; ++length) {
    std::vector<std::uint32_t> document;
    for (std::uint32_t i = 0; i < length; ++i) document.push_back(next++ % 90);
    writer.add_document(document, 3 * length);
  }
  return writer.finish();
}

std::vector<std::int32_t> expected_tokens(std::uint32_t documents) {
  std::vector<std::int32_t> tokens;
  std::int32_t next = 0;
  for (std::uint32_t length = 1; length <= documents; ++length) {
    for (std::uint32_t i = 0; i < length; ++i) tokens.push_back(next++ % 90);
    tokens.push_back(end_of_document);
  }
  return tokens;
}

void replace_in(const std::string& path, const std::string& from, const std::string& to) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  std::string content = text.str();
  const std::size_t at = content.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  content.replace(at, from.size(), to);
  std::ofstream(path) << content;
}

TEST(Corpus, ReadsAsOneSequenceOfTokens) {
  const TemporaryFolder folder;
  const auto expected = expected_tokens(20);
  const CorpusManifest manifest = write_corpus(folder / "novels", 20);
  EXPECT_EQ(manifest.num_tokens, expected.size());
  EXPECT_EQ(manifest.num_documents, 20u);
  EXPECT_EQ(manifest.text_bytes, 3u * 210);
  EXPECT_GT(manifest.shards.size(), 3u);
  for (const auto& shard : manifest.shards) EXPECT_LE(shard.num_tokens, 50u);

  for (const char* path : {"novels", "novels/"}) {
    const Corpus corpus = Corpus::open(folder / path);
    EXPECT_EQ(corpus.manifest().info.end_of_document, end_of_document);
    EXPECT_EQ(corpus.num_tokens(), expected.size());
    // Every begin, so that pieces start, end and lie across every border between shards.
    for (std::size_t begin = 0; begin <= expected.size(); ++begin) {
      std::vector<std::int32_t> piece(std::min<std::size_t>(120, expected.size() - begin));
      corpus.read(begin, piece);
      EXPECT_TRUE(std::equal(piece.begin(), piece.end(), expected.begin() + begin)) << begin;
    }
    for (const TokenShard& shard : corpus.shards()) EXPECT_NO_THROW(shard.verify());
  }
}

TEST(Corpus, ALongDocumentGetsAShardOfItsOwn) {
  const TemporaryFolder folder;
  CorpusWriter writer(folder / "c", {"abc", 100, -1}, 50);
  for (const std::size_t length : {10, 200, 10})
    writer.add_document(std::vector<std::uint32_t>(length));
  const CorpusManifest manifest = writer.finish();
  ASSERT_EQ(manifest.shards.size(), 3u);
  EXPECT_EQ(manifest.shards[1].num_tokens, 200u);
}

TEST(Corpus, DocumentsInParts) {
  const TemporaryFolder folder;
  CorpusWriter writer(folder / "c", {"abc", 100, end_of_document}, 50);
  writer.add_document(std::vector<std::uint32_t>(30, 1), 90);
  for (int part = 0; part < 5; ++part) writer.add_tokens(std::vector<std::uint32_t>(15, 2), 45);
  writer.end_document();
  writer.add_document(std::vector<std::uint32_t>(1, 3), 3);
  const CorpusManifest manifest = writer.finish();
  EXPECT_EQ(manifest.num_documents, 3u);
  EXPECT_EQ(manifest.text_bytes, 90u + 225 + 3);
  // 31 + 16 tokens fit into 50; the rest of that document follows; the next one does not.
  ASSERT_EQ(manifest.shards.size(), 2u);
  EXPECT_EQ(manifest.shards[0].num_tokens, 31u + 76);
  EXPECT_EQ(manifest.shards[1].num_tokens, 2u);
  const Corpus corpus = Corpus::open(folder / "c");
  EXPECT_EQ(corpus.shards()[0].document_offset(1), 31u);
  EXPECT_EQ(corpus.shards()[0].document_offset(2), 31u + 76);
  std::vector<std::int32_t> end(1);
  corpus.read(31 + 75, end);
  EXPECT_EQ(end[0], static_cast<std::int32_t>(end_of_document));
}

TEST(Corpus, IsNeverOverwrittenButAnUnfinishedOneIs) {
  const TemporaryFolder folder;
  {
    CorpusWriter writer(folder / "c", {"abc", 100, -1}, 50);
    for (int i = 0; i < 10; ++i) writer.add_document(std::vector<std::uint32_t>(40));
  }  // nine shards, no corpus.yaml
  EXPECT_THAT(error_of(ExitCode::data, [&] { Corpus::open(folder / "c"); }),
              AllOf(HasSubstr("corpus.yaml is missing"), HasSubstr("not finished")));
  write_corpus(folder / "c", 3);
  EXPECT_EQ(Corpus::open(folder / "c").num_tokens(), 9u);
  EXPECT_FALSE(fs::exists(folder / "c/tokens-00001.h5"));
  EXPECT_THAT(error_of(ExitCode::data, [&] { write_corpus(folder / "c", 3); }),
              HasSubstr("already holds a corpus"));
}

TEST(Corpus, OpeningChecksShardsAgainstTheManifest) {
  const TemporaryFolder folder;
  write_corpus(folder / "good", 20);
  int copies = 0;
  const auto problem = [&](const std::function<void(const std::string&)>& spoil) {
    const std::string copy = folder / fmt::format("copy{}", copies++);
    fs::copy(folder / "good", copy);
    spoil(copy + "/");
    return error_of(ExitCode::data, [&] { Corpus::open(copy); });
  };
  // As another program might have written it: its hash is right.
  const auto edit = [&](const std::string& from, const std::string& to) {
    return problem([&](const std::string& c) {
      replace_in(c + "corpus.yaml", from, to);
      const std::string text = read_file(c + "corpus.yaml", ExitCode::data);
      const std::string before = text.substr(0, text.rfind("xxh3: "));
      std::ofstream(c + "corpus.yaml")
          << before
          << fmt::format("xxh3: {:016x}\n", checksum_of(std::as_bytes(std::span(before))));
    });
  };
  EXPECT_THAT(problem([](const std::string& c) { fs::remove(c + "corpus.yaml"); }),
              HasSubstr("corpus.yaml is missing"));
  EXPECT_THAT(problem([](const std::string& c) { fs::remove(c + "tokens-00001.h5"); }),
              AllOf(HasSubstr("tokens-00001.h5"), HasSubstr("No such file")));
  EXPECT_THAT(problem([](const std::string& c) { fs::resize_file(c + "tokens-00002.h5", 100); }),
              AllOf(HasSubstr("tokens-00002.h5"), HasSubstr("100 bytes")));
  // Two whole shards of one size, in each other's place.
  EXPECT_THAT(problem([](const std::string& c) {
                fs::rename(c + "tokens-00001.h5", c + "x");
                fs::rename(c + "tokens-00002.h5", c + "tokens-00001.h5");
                fs::rename(c + "x", c + "tokens-00002.h5");
              }),
              HasSubstr("tokens-00001.h5"));
  EXPECT_THAT(edit("\"abc\"", "\"abd\""), AllOf(HasSubstr("tokenizer_hash"), HasSubstr("abd")));
  EXPECT_THAT(edit("num_documents: 20", "num_documents: 21"), HasSubstr("num_documents = 21"));
  EXPECT_THAT(edit("vocab_size: 100", "vocab_size: 101"), HasSubstr("vocab_size is 100"));
  EXPECT_THAT(edit("format_version: 2", "format_version: 9"), HasSubstr("format 9"));
  EXPECT_THAT(edit("format_version: 2", "format_version: 1"), HasSubstr("tokenize the text again"));
  EXPECT_THAT(edit("vocab_size: 100", "vocab_size: many"),
              HasSubstr("corpus.yaml:3: 'vocab_size'"));
  EXPECT_THAT(edit("format_version: 2", "format_version: [2"), HasSubstr("not YAML"));
  // S9
  EXPECT_THAT(edit("text_bytes: ", "text_byte: "), HasSubstr("'text_bytes' is missing"));
  EXPECT_THAT(edit("text_bytes: ", "num_tokens: 3\ntext_bytes: "), HasSubstr("given twice"));
  EXPECT_THAT(edit("end_of_document: 99", "end_of_document: 100"),
              HasSubstr("outside the vocabulary"));
  EXPECT_THAT(edit("tokens-00001.h5", "../good/tokens-00001.h5"), HasSubstr("no name of a file"));
  // Any other change of the text is noticed by its hash.
  EXPECT_THAT(problem([](const std::string& c) {
                replace_in(c + "corpus.yaml", "text_bytes: 630", "text_bytes: 0");
              }),
              HasSubstr("changed since it was written"));
}

}  // namespace
}  // namespace dualpath
