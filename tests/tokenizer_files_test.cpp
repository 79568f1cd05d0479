#include "data/text/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/text/encoder.h"
#include "tests/expect_error.h"
#include "tests/random_text.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Ids = std::vector<std::uint32_t>;
using Json = nlohmann::json;

const std::string kFixture = DUALPATH_SOURCE_DIR "/tests/tokenizer_fixture";

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

Ids encode(const Tokenizer& tokenizer, std::string_view text, SpecialTokens special) {
  Ids ids;
  tokenizer.encode(text, ids, special);
  return ids;
}

// Tokenizers as published ones are configured, and the ids that Hugging Face's `tokenizers` gives
// (tests/reference/make_tokenizer_fixtures.py).
class ReferenceIds : public testing::TestWithParam<const char*> {
 protected:
  const std::string folder_ = kFixture + "/" + GetParam();
  // qwen2 has several special tokens, llama3 no <|endoftext|>.
  const Tokenizer tokenizer_ = load_tokenizer(folder_);
  const Json cases_ = Json::parse(read(folder_ + "/cases.json"));

  void expect_reference_ids(const Tokenizer& tokenizer) {
    Encoder encoder(tokenizer);
    for (const Json& c : cases_) {
      const auto text = c["text"].get<std::string>();
      const Ids as_text = c["as_text"].get<Ids>();
      EXPECT_EQ(encode(tokenizer, text, SpecialTokens::as_text), as_text) << c["text"];
      EXPECT_EQ(encode(tokenizer, text, SpecialTokens::recognized), c["recognized"].get<Ids>())
          << c["text"];
      for (int time = 0; time < 2; ++time) {  // the second time from its memory
        Ids ids;
        encoder.encode(text, ids);
        EXPECT_EQ(ids, as_text) << c["text"];
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, ReferenceIds, testing::Values("gpt2", "llama3", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ReferenceIds, AreOurs) {
  EXPECT_GT(cases_.size(), 60u);
  expect_reference_ids(tokenizer_);
}

TEST_P(ReferenceIds, AreOursAfterWritingAndReading) {
  const TemporaryFolder folder;
  save_tokenizer(tokenizer_, folder.path());
  for (const std::string& path : {folder.path(), folder / "tokenizer.json"}) {
    const Tokenizer again = load_tokenizer(path);
    EXPECT_EQ(again.hash(), tokenizer_.hash());
    EXPECT_EQ(again.end_of_text(), tokenizer_.end_of_text());
    expect_reference_ids(again);
  }
}

// Parts of a long document give the ids of the whole.
TEST_P(ReferenceIds, SafeCutsKeepTheIds) {
  int cuts = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::string text =
        random_text(seed, 20) + cases_[seed % cases_.size()]["text"].get<std::string>();
    std::size_t cut = text.size();
    while ((cut = tokenizer_.segmenter().last_safe_cut(std::string_view(text).substr(0, cut))) >
           0) {
      ++cuts;
      Ids ids = encode(tokenizer_, text.substr(0, cut), SpecialTokens::as_text);
      const Ids rest = encode(tokenizer_, text.substr(cut), SpecialTokens::as_text);
      ids.insert(ids.end(), rest.begin(), rest.end());
      ASSERT_EQ(ids, encode(tokenizer_, text, SpecialTokens::as_text)) << seed << ", " << cut;
    }
  }
  EXPECT_GT(cuts, 200);
}

// The parts that are looked at go into the hash, so an equal hash is an equal tokenizer.
TEST(TokenizerJson, IsTheTokenizerOfVocabularyAndMerges) {
  const Tokenizer before = load_tokenizer(kFixture + "/vocab.json");
  const TemporaryFolder folder;
  save_tokenizer(before, folder.path());
  const Tokenizer after = load_tokenizer(folder.path());
  EXPECT_TRUE(std::ranges::equal(after.tokens(), before.tokens()));
  EXPECT_TRUE(std::ranges::equal(after.merges(), before.merges()));
  EXPECT_EQ(after.parts().added, before.parts().added);
  EXPECT_EQ(after.hash(), before.hash());
}

TEST(TokenizerJson, SpecialTokensAmongTheOthersKeepTheirIds) {
  TokenizerParts parts{.tokens = {"<|pad|>", "<|endoftext|>"}, .merges = {}, .end_of_text = 1};
  for (const std::uint8_t byte : gpt2_byte_order()) {
    parts.tokens.emplace_back(1, static_cast<char>(byte));
  }
  parts.tokens.emplace_back("<|last|>");
  parts.added = {{.id = 0, .content = "<|pad|>"}, {.id = 258, .content = "<|last|>"}};
  const Tokenizer before(parts);
  const TemporaryFolder folder;
  save_tokenizer(before, folder.path());
  const Json json = Json::parse(read(folder / "tokenizer.json"));
  // What stands before ordinary tokens must be in the vocabulary for its id to be kept.
  EXPECT_EQ(json["model"]["vocab"]["<|pad|>"], 0);
  EXPECT_FALSE(json["model"]["vocab"].contains("<|last|>"));
  EXPECT_EQ(load_tokenizer(folder.path()).hash(), before.hash());
}

// Spellings that mean the same.
TEST(TokenizerJson, NeutralFields) {
  const TemporaryFolder folder;
  Json json = Json::parse(read(kFixture + "/qwen2/tokenizer.json"));
  const std::string hash = load_tokenizer(kFixture + "/qwen2").hash();
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({{{"type", "NFC"}}})}};
  json["model"].erase("type");
  json["model"].erase("byte_fallback");
  json["model"]["dropout"] = 0.0;
  json["model"]["unk_token"] = "";
  json["model"]["continuing_subword_prefix"] = "";
  json["model"]["end_of_word_suffix"] = "";
  json.erase("decoder");
  json.erase("truncation");
  write(folder / "tokenizer.json", json.dump());
  EXPECT_EQ(load_tokenizer(folder.path()).hash(), hash);
  json["normalizer"] = nullptr;
  write(folder / "tokenizer.json", json.dump());
  EXPECT_NE(load_tokenizer(folder.path()).hash(), hash);
}

class EndOfText : public testing::Test {
 protected:
  void SetUp() override {
    write(folder_ / "tokenizer.json", read(kFixture + "/qwen2/tokenizer.json"));
  }
  std::string end(const std::string& name = "") {
    const Tokenizer tokenizer = load_tokenizer(folder_.path(), name);
    return tokenizer.tokens()[tokenizer.end_of_text()];
  }
  TemporaryFolder folder_;
};

TEST_F(EndOfText, TheNameGivenThenTheConfigThenTheUsualNames) {
  EXPECT_EQ(end(), "<|endoftext|>");
  EXPECT_EQ(end("<|im_start|>"), "<|im_start|>");
  write(folder_ / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  EXPECT_EQ(end(), "<|im_end|>");
  EXPECT_EQ(end("<|im_start|>"), "<|im_start|>");
  write(folder_ / "tokenizer_config.json", R"({"eos_token": {"content": "<|im_end|>"}})");
  EXPECT_EQ(end(), "<|im_end|>");
  write(folder_ / "tokenizer_config.json", R"({"eos_token": null})");
  EXPECT_EQ(end(), "<|endoftext|>");
  EXPECT_EQ(load_tokenizer(kFixture + "/llama3").tokens().back(), "<|eot_id|>");
  const Tokenizer llama3 = load_tokenizer(kFixture + "/llama3");
  EXPECT_EQ(llama3.tokens()[llama3.end_of_text()], "<|end_of_text|>");
}

TEST_F(EndOfText, WrongNames) {
  const auto message = [&](const std::string& name) {
    return error_of(ExitCode::data, [&] { load_tokenizer(folder_.path(), name); });
  };
  EXPECT_THAT(message("<tool_call>"), AllOf(HasSubstr("<tool_call> is not among"),
                                            HasSubstr("<|endoftext|> <|im_start|> <|im_end|>")));
  write(folder_ / "tokenizer_config.json", R"({"eos_token": 7})");
  EXPECT_THAT(message(""), HasSubstr("eos_token is 7"));
  write(folder_ / "tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_THAT(message(""), HasSubstr("</s> is not among"));
}

// What cannot be reproduced is refused, and the field named.
class TokenizerJsonRefusals : public testing::Test {
 protected:
  std::string refusal(const std::string& pointer, const Json& value) {
    Json json = Json::parse(read(kFixture + "/llama3/tokenizer.json"));
    json[Json::json_pointer(pointer)] = value;
    write(folder_ / "tokenizer.json", json.dump());
    return error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(TokenizerJsonRefusals, OtherModels) {
  EXPECT_THAT(refusal("/model/type", "WordPiece"), HasSubstr("model.type is \"WordPiece\""));
  EXPECT_THAT(refusal("/model/dropout", 0.1), HasSubstr("model.dropout is 0.1"));
  EXPECT_THAT(refusal("/model/byte_fallback", true), HasSubstr("model.byte_fallback is true"));
  EXPECT_THAT(refusal("/model/continuing_subword_prefix", "##"),
              HasSubstr("model.continuing_subword_prefix"));
  EXPECT_THAT(refusal("/model/end_of_word_suffix", "</w>"), HasSubstr("model.end_of_word_suffix"));
  EXPECT_THAT(refusal("/model/ignore_merges", 1), HasSubstr("model.ignore_merges"));
  EXPECT_THAT(refusal("/model/new_option", 1), HasSubstr("model.new_option is unknown"));
  EXPECT_THAT(refusal("/model/vocab", Json::array()), HasSubstr("model.vocab"));
}

TEST_F(TokenizerJsonRefusals, OtherSteps) {
  EXPECT_THAT(refusal("/normalizer", {{"type", "NFKC"}}), HasSubstr("normalizer is"));
  EXPECT_THAT(refusal("/truncation", {{"max_length", 512}}), HasSubstr("truncation is"));
  EXPECT_THAT(refusal("/padding", {{"pad_id", 0}}), HasSubstr("padding is"));
  EXPECT_THAT(refusal("/decoder", {{"type", "Metaspace"}}), HasSubstr("decoder.type is"));
  EXPECT_THAT(refusal("/something", 1), HasSubstr("something is unknown"));
}

TEST_F(TokenizerJsonRefusals, OtherPreTokenizers) {
  const std::string steps = "/pre_tokenizer/pretokenizers/";
  EXPECT_THAT(refusal("/pre_tokenizer", {{"type", "Whitespace"}}),
              HasSubstr("pre_tokenizer.type is \"Whitespace\""));
  EXPECT_THAT(refusal("/pre_tokenizer", nullptr), HasSubstr("pre_tokenizer is no object"));
  EXPECT_THAT(refusal("/pre_tokenizer", {{"type", 7}}), HasSubstr("pre_tokenizer.type is 7"));
  EXPECT_THAT(refusal("/pre_tokenizer", {{"type", "ByteLevel"}}),
              HasSubstr("pre_tokenizer.add_prefix_space is null"));
  EXPECT_THAT(refusal("/pre_tokenizer/pretokenizers", Json::array()),
              HasSubstr("pre_tokenizer.pretokenizers is []"));
  EXPECT_THAT(refusal(steps + "0/pattern/Regex", "\\w+"),
              HasSubstr("pre_tokenizer.pretokenizers[0].pattern is"));
  EXPECT_THAT(refusal(steps + "0/behavior", "Removed"), HasSubstr("behavior is \"Removed\""));
  EXPECT_THAT(refusal(steps + "0/invert", true), HasSubstr("invert is true"));
  EXPECT_THAT(refusal(steps + "1/use_regex", true), HasSubstr("use_regex is true"));
  EXPECT_THAT(refusal(steps + "1/add_prefix_space", true), HasSubstr("add_prefix_space is true"));
}

TEST_F(TokenizerJsonRefusals, AddedTokens) {
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    EXPECT_THAT(refusal(fmt::format("/added_tokens/1/{}", key), true),
                HasSubstr(fmt::format("added_tokens[1].{} is true", key)));
  }
  EXPECT_THAT(refusal("/added_tokens/1/content", ""), HasSubstr("added_tokens[1].content"));
  EXPECT_THAT(refusal("/added_tokens/1/content", "<|eot_id|>"), HasSubstr("given twice"));
  EXPECT_THAT(refusal("/added_tokens/1/id", 420), HasSubstr("id 420 is given twice"));
  EXPECT_THAT(refusal("/added_tokens/1/id", 500), HasSubstr("500, but 423 tokens need"));
  EXPECT_THAT(refusal("/added_tokens/1/id", -1), HasSubstr("added_tokens[1].id is -1"));
  EXPECT_THAT(refusal("/added_tokens/1/content", "th"), HasSubstr("is an ordinary token too"));
}

TEST_F(TokenizerJsonRefusals, VocabularyAndMerges) {
  EXPECT_THAT(refusal("/model/vocab/th", "x"), HasSubstr("the id of 'th' is \"x\""));
  EXPECT_THAT(refusal("/model/vocab/路", 423), HasSubstr("'路' (id 423)"));
  EXPECT_THAT(refusal("/model/merges/0", "a b c"), HasSubstr("merges[0] is \"a b c\""));
  EXPECT_THAT(refusal("/model/merges/0", {"a"}), HasSubstr("merges[0] is [\"a\"]"));
  EXPECT_THAT(refusal("/model/merges/0", {"z", "zz"}), HasSubstr("lacks 'zz'"));
  EXPECT_THAT(refusal("/model/merges/1", {"t", "h"}), HasSubstr("merge 1 occurs twice"));
}

class Gpt2Files : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"vocab.json", "merges.txt"}) {
      write(folder_ / name, read(kFixture + "/" + name));
    }
  }

  // The message of loading after `from` in the file became `to`.
  std::string load_error(const std::string& name, const std::string& from, const std::string& to) {
    std::string text = read(folder_ / name);
    const std::size_t place = text.find(from);
    EXPECT_NE(place, text.npos) << from;
    text.replace(place, from.size(), to);
    write(folder_ / name, text);
    return error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); });
  }

  TemporaryFolder folder_;
};

TEST_F(Gpt2Files, FolderOrFile) {
  EXPECT_TRUE(has_tokenizer(folder_.path()));
  EXPECT_EQ(load_tokenizer(folder_.path()).hash(), load_tokenizer(folder_ / "vocab.json").hash());
  fs::rename(folder_ / "vocab.json", folder_ / "words.json");
  EXPECT_FALSE(has_tokenizer(folder_.path()));
  EXPECT_EQ(load_tokenizer(folder_ / "words.json").vocab_size(), 357u);
}

TEST_F(Gpt2Files, MissingFile) {
  fs::remove(folder_ / "merges.txt");
  EXPECT_THAT(error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); }),
              HasSubstr("merges.txt"));
  fs::remove(folder_ / "vocab.json");
  EXPECT_THAT(error_of(ExitCode::data, [&] { load_tokenizer(folder_.path()); }),
              HasSubstr("neither tokenizer.json nor vocab.json"));
  EXPECT_THAT(error_of(ExitCode::data, [&] { load_tokenizer(folder_ / "none"); }),
              HasSubstr("none"));
}

TEST_F(Gpt2Files, BrokenJson) {
  EXPECT_THAT(load_error("vocab.json", "{", "["), HasSubstr("vocab.json"));
}

TEST_F(Gpt2Files, IdTwice) {
  EXPECT_THAT(load_error("vocab.json", "\"b\": 65", "\"b\": 64"),
              HasSubstr("id 64 is given twice"));
}

TEST_F(Gpt2Files, IdTooLarge) {
  EXPECT_THAT(load_error("vocab.json", "\"b\": 65", "\"b\": 9999"),
              HasSubstr("the id of 'b' is 9999"));
}

TEST_F(Gpt2Files, ByteWithoutToken) {
  EXPECT_THAT(load_error("vocab.json", "\"{\": 90", "\"{{\": 90"), HasSubstr("byte 0x7b"));
}

TEST_F(Gpt2Files, NotAByteCharacter) {
  EXPECT_THAT(load_error("vocab.json", "\"d\": 67", "\"路\": 67"), HasSubstr("'路' (id 67)"));
}

TEST_F(Gpt2Files, NoEndOfText) {
  EXPECT_THAT(load_error("vocab.json", "<|endoftext|>", "<|end|>"), HasSubstr("<|endoftext|>"));
  EXPECT_EQ(load_tokenizer(folder_.path(), "<|end|>").end_of_text(), 356u);
}

TEST_F(Gpt2Files, MergeOfUnknownTokens) {
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\nx yz\n"),
              HasSubstr("merges.txt:2"));
}

TEST_F(Gpt2Files, MergeLineWithoutTwoTokens) {
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\na b c\n"),
              HasSubstr("'a b c'"));
}

TEST_F(Gpt2Files, MergeTwice) {
  EXPECT_THAT(load_error("merges.txt", "#version: 0.2\n", "#version: 0.2\nt h\n"),
              HasSubstr("occurs twice"));
}

}  // namespace
}  // namespace dualpath
