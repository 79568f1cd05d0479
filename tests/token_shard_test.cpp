#include "data/tokens/token_shard.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/random.h"
#include "data/files/hdf5_file.h"
#include "data/files/mapped_file_guard.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<std::uint32_t> random_tokens(std::size_t count, std::uint64_t vocab_size) {
  const CounterRng rng(1, "tokens");
  std::vector<std::uint32_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<std::uint32_t>(rng.below(i, vocab_size));
  }
  return tokens;
}

std::string corruption(const std::string& path) {
  return error_of(ExitCode::data, [&] { TokenShard::open(path).verify(); });
}

// Flips one bit of the file, at a byte of a dataset.
void damage(const std::string& path, const std::string& dataset, std::uint64_t byte) {
  const auto offset = Hdf5File::open(path, ExitCode::data).dataset(dataset).file_offset + byte;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const char value = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(value);
}

struct RawShard {
  std::vector<std::uint16_t> tokens = {1, 2, 3, 4, 5, 6};
  std::vector<std::uint64_t> offsets = {0, 2, 6};
  std::int64_t version = 2;
  std::uint64_t vocab_size = 100, num_tokens = 6, num_documents = 2;
};

// A shard as some other program may have written it, its checksums right.
std::string write_raw(const TemporaryFolder& folder, const RawShard& raw) {
  const std::string path = folder / "raw.h5";
  Hdf5File file = Hdf5File::create(path, ExitCode::data);
  file.create_dataset("tokens", Hdf5Type::u16, raw.tokens.size());
  file.write<std::uint16_t>("tokens", 0, raw.tokens);
  file.create_dataset("document_offsets", Hdf5Type::u64, raw.offsets.size());
  file.write<std::uint64_t>("document_offsets", 0, raw.offsets);
  file.set_attribute("/", "format_version", raw.version);
  file.set_attribute("/", "tokenizer_hash", std::string("abc"));
  file.set_attribute("/", "vocab_size", raw.vocab_size);
  file.set_attribute("/", "num_tokens", raw.num_tokens);
  file.set_attribute("/", "num_documents", raw.num_documents);
  const std::uint64_t block[] = {checksum_of(std::as_bytes(std::span(raw.tokens)))};
  file.create_dataset("block_checksums", Hdf5Type::u64, 1);
  file.write<std::uint64_t>("block_checksums", 0, block);
  file.set_attribute("/", "token_checksum", checksum_of(std::as_bytes(std::span(block))));
  file.set_attribute("/", "offset_checksum", checksum_of(std::as_bytes(std::span(raw.offsets))));
  file.close();
  return path;
}

class TokenShardWidth : public testing::TestWithParam<std::uint64_t> {};

// More than one block of the writer; a vocabulary that needs 16 bits, and one that needs 32.
TEST_P(TokenShardWidth, KeepsWhatWasWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "shard.h5";
  const auto tokens = random_tokens(2'300'001, GetParam());
  const std::span<const std::uint32_t> all(tokens);
  TokenShardWriter writer(path, "abc", GetParam());
  writer.add_document(all.first(5));
  writer.add_document({});
  writer.add_document(all.subspan(5));
  EXPECT_FALSE(std::filesystem::exists(path)) << "a shard appears complete or not at all";
  const TokenShardInfo written = writer.finish();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);

  const TokenShard shard = TokenShard::open(path);
  EXPECT_EQ(shard.info(), written);
  EXPECT_EQ(shard.info().tokenizer_hash, "abc");
  EXPECT_EQ(shard.info().num_tokens, tokens.size());
  EXPECT_EQ(shard.info().num_documents, 3u);
  EXPECT_EQ(shard.bytes_per_token(), GetParam() <= 65536 ? 2u : 4u);
  const std::uint64_t offsets[] = {0, 5, 5, tokens.size()};
  for (std::uint64_t d = 0; d <= 3; ++d) EXPECT_EQ(shard.document_offset(d), offsets[d]);
  std::vector<std::int32_t> read(tokens.size() - 3);
  shard.read(3, read);
  EXPECT_TRUE(std::equal(read.begin(), read.end(), tokens.begin() + 3));
  EXPECT_NO_THROW(shard.verify());
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenShardWidth, testing::Values(65536, 65537));

TEST(TokenShard, AnAbandonedWriterLeavesNothing) {
  const TemporaryFolder folder;
  {
    TokenShardWriter writer(folder / "shard.h5", "abc", 10);
    writer.add_document(random_tokens(100, 10));
    EXPECT_THAT(
        error_of(ExitCode::data, [&] { writer.add_document(std::vector<std::uint32_t>{10}); }),
        AllOf(HasSubstr("shard.h5"), HasSubstr("document 1"), HasSubstr("token 10")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(TokenShard, NamesTheFileAndTheDamage) {
  const TemporaryFolder folder;
  const std::string good = folder / "good.h5", bad = folder / "bad.h5";
  TokenShardWriter writer(good, "abc", 5000);
  writer.add_document(random_tokens(1'000'000, 5000));
  writer.add_document(random_tokens(1000, 5000));
  writer.finish();
  const auto fresh = [&] {
    std::filesystem::copy_file(good, bad, std::filesystem::copy_options::overwrite_existing);
  };

  fresh();
  damage(bad, "tokens", 1'234'567);
  EXPECT_THAT(corruption(bad), AllOf(HasSubstr("bad.h5"), HasSubstr("damaged tokens")));
  {
    // S9: reading a token checks its block, once; other blocks do not matter.
    const TokenShard shard = TokenShard::open(bad);
    std::vector<std::int32_t> some(10);
    EXPECT_NO_THROW(shard.read(0, some));
    const std::string problem =
        error_of(ExitCode::data, [&] { shard.read(1'234'567 / 2 / 8192 * 8192 + 8185, some); });
    EXPECT_THAT(problem, AllOf(HasSubstr("bad.h5"), HasSubstr("damaged tokens [614400, 622592)")));
  }
  fresh();
  damage(bad, "block_checksums", 9);
  EXPECT_THAT(corruption(bad), AllOf(HasSubstr("bad.h5"), HasSubstr("damaged block checksums")));
  fresh();
  damage(bad, "document_offsets", 9);
  EXPECT_THAT(corruption(bad), AllOf(HasSubstr("bad.h5"), HasSubstr("damaged document offsets")));
  for (const double part : {0.0, 0.3, 0.999}) {
    fresh();
    std::filesystem::resize_file(
        bad,
        static_cast<std::uintmax_t>(part * static_cast<double>(std::filesystem::file_size(bad))));
    EXPECT_THAT(corruption(bad), HasSubstr("bad.h5")) << part;
  }
}

TEST(TokenShard, RefusesWhatContradictsItself) {
  const TemporaryFolder folder;
  EXPECT_NO_THROW(TokenShard::open(write_raw(folder, {})).verify());
  const auto problem = [&](const RawShard& raw) { return corruption(write_raw(folder, raw)); };
  EXPECT_THAT(problem({.version = 1}), AllOf(HasSubstr("format 1"), HasSubstr("tokenize")));
  EXPECT_THAT(problem({.vocab_size = 6}), HasSubstr("token 6 is outside the vocabulary of 6"));
  EXPECT_THAT(problem({.vocab_size = 1 << 17}), HasSubstr("uint32"));
  EXPECT_THAT(problem({.num_tokens = 7}), HasSubstr("num_tokens = 7"));
  EXPECT_THAT(problem({.num_documents = 1}), HasSubstr("num_documents = 1"));
  EXPECT_THAT(problem({.offsets = {0, 2, 5}}), HasSubstr("[0, 5) instead of [0, 6)"));
  EXPECT_THAT(problem({.offsets = {0, 7, 6}}), HasSubstr("document 1"));
}

// Trial C2: the kernel answers a read of what is no longer there with a bus error.
TEST(TokenShard, CutShortWhileMappedEndsTheProcessNamingIt) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  TokenShardWriter writer(path, "abc", 50000);
  writer.add_document(random_tokens(20000, 50000));
  writer.finish();
  EXPECT_EXIT(
      {
        { const TokenShard closed = TokenShard::open(path); }
        const TokenShard shard = TokenShard::open(path);
        set_mapping_message_prefix("[rank 1] ");
        std::filesystem::resize_file(path, 4096);
        std::vector<std::int32_t> tokens(100);
        shard.read(19000, tokens);
      },
      testing::ExitedWithCode(3),
      "^\\[rank 1\\] dualpath: .*/a.h5: was cut short while it was read: byte [0-9]+ is wanted, it "
      "has "
      "4096\n$");
}

// Bus errors anywhere else end the process as they do without us.
TEST(TokenShard, OtherBusErrorsAreNoDataErrors) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  TokenShardWriter writer(path, "abc", 50000);
  writer.add_document(random_tokens(100, 50000));
  writer.finish();
  EXPECT_EXIT(
      {
        const TokenShard shard = TokenShard::open(path);
        raise(SIGBUS);
        raise(SIGBUS);
      },
      testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace dualpath
