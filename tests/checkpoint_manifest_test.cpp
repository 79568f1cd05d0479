#include "data/checkpoints/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/checkpoints/checkpoint_index.h"
#include "data/files/file_io.h"
#include "tests/checkpoint_fixture.h"

namespace dualpath {
namespace {

using testing::HasSubstr;

CheckpointManifest example() {
  CheckpointManifest manifest;
  manifest.step = 100;
  manifest.consumed_samples = 6400;
  manifest.consumed_tokens = 3'000'000'000;
  manifest.model = "model:\n  layers: 2\n\n  hidden_size: 64\n";
  manifest.tokenizer_hash = "0123456789012345";
  manifest.layout = {{"ranks", "2"}};
  manifest.state = {{"sampler", "null"}, {"empty", ""}, {"a: b # c", "\"\\\n\t{[é"}};
  manifest.shards = {2, 30, 0xffffffffffffffffu};
  return manifest;
}

TEST(CheckpointManifest, ReadsBack) {
  EXPECT_EQ(parse_manifest(print_manifest(example()), "m"), example());
  EXPECT_EQ(parse_manifest(print_manifest({}), "m"), CheckpointManifest{});
}

TEST(CheckpointManifest, KeepsBlocksOfTextToTheByte) {
  for (const char* text : {"", "x", "x\n", "\n", "\n\nx\n\n", "  indented:\n first\n", "# only\n",
                           "a: b\nc:\n  - d"}) {
    CheckpointManifest manifest = example();
    manifest.model = text;
    manifest.data_state = text;
    EXPECT_EQ(parse_manifest(print_manifest(manifest), "m"), manifest);
  }
}

TEST(CheckpointManifest, NoticesEveryTruncationAndEveryChangedByte) {
  const std::string text = print_manifest(example());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto problem = [](const std::string& damaged) {
      return checkpoint_error([&] { parse_manifest(damaged, "the file"); });
    };
    ASSERT_THAT(problem(text.substr(0, i)), HasSubstr("the file: is damaged")) << i;
    std::string changed = text;
    changed[i] ^= 1;
    ASSERT_THAT(problem(changed), HasSubstr("the file: is damaged")) << i;
  }
}

std::string with_hash(const std::string& text) {
  return text + fmt::format("xxh3: {:016x}\n", checksum_of(std::as_bytes(std::span(text))));
}

// What is before the line of the hash.
std::string without_hash(const std::string& text) {
  return text.substr(0, text.rfind("xxh3: "));
}

TEST(CheckpointManifest, PassesOverWhatLaterVersionsAdd) {
  const std::string text = without_hash(print_manifest(example()));
  EXPECT_EQ(parse_manifest(with_hash(text + "later: {a: [1, 2]}\n"), "m"), example());
}

TEST(CheckpointManifest, SaysWhichProgramReadsAnotherFormat) {
  const auto problem = [](const std::string& version) {
    std::string text = without_hash(print_manifest(example()));
    text.replace(0, text.find('\n'), "format_version: " + version);
    return checkpoint_error([&] { parse_manifest(with_hash(text), "the file"); });
  };
  EXPECT_EQ(
      problem("1"),
      "the file: written in format 1, this program reads format 2; use the program that wrote "
      "it, or another run.folder");
  EXPECT_EQ(problem("2"), "");
  EXPECT_EQ(
      problem("3"),
      "the file: written in format 3, this program reads format 2; use the program that wrote "
      "it, or another run.folder");
}

TEST(CheckpointIndex, ReadsBack) {
  const std::vector<CheckpointShard> shards = {
      {"shard-00000-of-00002.h5", 10, 0xffffffffffffffffu, 4, 5, 0},
      {"shard-00001-of-00002.h5", std::int64_t{1} << 60, 1, 0, 0, 0x123}};
  EXPECT_EQ(parse_shards(print_shards(shards), "s"), shards);
  const std::vector<IndexedSlice> slices = {
      {"a/b.with_a-dot", DType::f32, {2, 3}, 0, 4, 2048, 0xffffffffffffffffu},
      {"i", DType::i32, {1, 2, 3, 4}, 5, 24, 1, 2},
      {"none", DType::f64, {}, 0, 0, 0, 0}};
  const std::string text = print_index(slices);
  EXPECT_EQ(parse_index(text, "s"), slices);
  EXPECT_THAT(parse_index(print_index({}), "s"), testing::IsEmpty());
}

TEST(CheckpointIndex, NoticesEveryTruncationAndEveryChangedByte) {
  const std::vector<IndexedSlice> slices = {{"a", DType::f32, {2, 3}, 0, 4, 2048, 7}};
  const std::string text = print_index(slices);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto problem = [](const std::string& damaged) {
      return checkpoint_error([&] { parse_index(damaged, "the file"); });
    };
    ASSERT_EQ(problem(text.substr(0, i)), "the file: its index is damaged") << i;
    std::string changed = text;
    changed[i] ^= 1;
    ASSERT_EQ(problem(changed), "the file: its index is damaged") << i;
  }
}

TEST(CheckpointIndex, RefusesListsThatItCannotRead) {
  const auto problem = [](const char* text) {
    return checkpoint_error([&] { parse_shards(text, "s"); });
  };
  EXPECT_EQ(problem(""), "");
  EXPECT_EQ(problem("a 1 f 0 0 0"), "s: is cut off");
  EXPECT_THAT(problem("a 1 f 0 0\n"), HasSubstr("s: '' cannot be understood"));
  EXPECT_THAT(problem("a -1 f 0 0 0\n"), HasSubstr("s: "));
  EXPECT_THAT(problem("a 1 g 0 0 0\n"), HasSubstr("s: "));
}

TEST(DigestFile, TakesTheChecksumsOfPartsInTheSamePass) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "file";
  std::string text(5 << 19, '\0');  // two and a half blocks
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 24);
  write_file(path, text, ExitCode::checkpoint);
  const auto bytes = std::as_bytes(std::span(text));
  constexpr std::int64_t block = 1 << 20;
  const std::vector<FilePart> parts = {{3, 10},
                                       {10, 10},
                                       {10, block},
                                       {block, block + 1},
                                       {block + 1, 2 * block + 7},
                                       {2 * block + 7, std::ssize(text)}};
  std::vector<std::uint64_t> checksums(parts.size());
  const FileDigest digest = digest_file(path, parts, checksums, ExitCode::checkpoint);
  EXPECT_EQ(digest, (FileDigest{std::ssize(text), checksum_of(bytes)}));
  EXPECT_EQ(digest, digest_file(path, ExitCode::checkpoint));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto begin = static_cast<std::size_t>(parts[i].begin);
    const auto end = static_cast<std::size_t>(parts[i].end);
    EXPECT_EQ(checksums[i], checksum_of(bytes.subspan(begin, end - begin))) << i;
  }
}

using Slices = std::vector<std::vector<IndexedSlice>>;

IndexedSlice slice(std::int64_t begin, std::int64_t end, Shape shape = {2, 3},
                   DType dtype = DType::f32) {
  return {"t", dtype, shape, begin, end, 0, 0};
}

TEST(AssembleTensors, OrdersSlicesOfAllRanks) {
  const auto tensors = assemble_tensors(Slices{{slice(4, 6), slice(0, 1)}, {slice(1, 4)}});
  const std::vector<CheckpointTensor> expected = {
      {"t", DType::f32, {2, 3}, {{0, 0, 1}, {1, 1, 4}, {0, 4, 6}}}};
  EXPECT_EQ(tensors, expected);
}

TEST(AssembleTensors, RefusesWhatIsNotCoveredOnce) {
  const auto problem = [](const Slices& slices) {
    return checkpoint_error([&] { assemble_tensors(slices); });
  };
  EXPECT_EQ(problem({{slice(0, 4)}, {slice(4, 6)}}), "");
  EXPECT_EQ(problem({{slice(0, 4)}, {slice(5, 6)}}), "tensor 't' [2, 3]: no shard holds [4, 5)");
  EXPECT_EQ(problem({{slice(1, 6)}}), "tensor 't' [2, 3]: no shard holds [0, 1)");
  EXPECT_EQ(problem({{slice(0, 5)}}), "tensor 't' [2, 3]: no shard holds [5, 6)");
  EXPECT_EQ(problem({{slice(2, 2)}}), "tensor 't' [2, 3]: no shard holds [0, 6)");
  EXPECT_EQ(problem({{slice(0, 4)}, {slice(3, 6)}}),
            "tensor 't' [2, 3]: shards 0 and 1 both hold [3, 4)");
  EXPECT_EQ(problem({{slice(0, 6)}, {slice(2, 3)}}),
            "tensor 't' [2, 3]: shards 0 and 1 both hold [2, 3)");
  EXPECT_EQ(problem({{slice(0, 7)}}),
            "tensor 't' [2, 3]: shard 0 holds an impossible slice [0, 7)");
}

TEST(AssembleTensors, RefusesSlicesThatDisagree) {
  EXPECT_EQ(checkpoint_error([] {
              assemble_tensors(Slices{{slice(0, 3)}, {slice(3, 6, {3, 2})}});
            }),
            "tensor 't' is f32 [3, 2] on rank 1, but f32 [2, 3] before");
  EXPECT_EQ(checkpoint_error([] {
              assemble_tensors(Slices{{slice(0, 3)}, {slice(3, 6, {2, 3}, DType::f64)}});
            }),
            "tensor 't' is f64 [2, 3] on rank 1, but f32 [2, 3] before");
}

}  // namespace
}  // namespace dualpath
