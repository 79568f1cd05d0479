#include "data/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  manifest.shards = {{"shard-00000-of-00002.h5", 10, 0xffffffffffffffffu},
                     {"shard-00001-of-00002.h5", 20, 1}};
  manifest.tensors = {{"a/b", DType::f32, {2, 3}, {{1, 0, 4}, {0, 4, 6}}},
                      {"scalar", DType::f64, {1}, {{1, 0, 1}}}};
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

TEST(CheckpointManifest, FindsTensorsByName) {
  const CheckpointManifest manifest = example();
  EXPECT_EQ(manifest.find("scalar"), &manifest.tensors[1]);
  EXPECT_EQ(manifest.find("a/b"), &manifest.tensors[0]);
  EXPECT_EQ(manifest.find("a"), nullptr);
  EXPECT_EQ(manifest.find("z"), nullptr);
}

TEST(CheckpointManifest, RefusesShardsThatItDoesNotList) {
  CheckpointManifest manifest = example();
  manifest.shards.pop_back();
  EXPECT_THAT(checkpoint_error([&] { parse_manifest(print_manifest(manifest), "m"); }),
              HasSubstr("'a/b' lies in shard 1 of 1"));
}

using Slices = std::vector<std::vector<TensorSlice>>;

TensorSlice slice(std::int64_t begin, std::int64_t end, Shape shape = {2, 3},
                  DType dtype = DType::f32) {
  return {"t", dtype, shape, begin, end, nullptr};
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
