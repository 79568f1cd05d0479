// Routing reports: tags of words on tokens, figures of tokens put together, and a page that needs
// nothing else.
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/routes/conllu.h"
#include "launcher/routes/route_page.h"
#include "launcher/routes/route_summary.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Bytes are tokens, and "lo".
Tokenizer byte_tokenizer() {
  TokenizerParts parts;
  for (const std::uint8_t byte : gpt2_byte_order())
    parts.tokens.emplace_back(1, static_cast<char>(byte));
  const auto token_of = [&](char c) {
    return static_cast<std::uint32_t>(std::ranges::find(parts.tokens, std::string(1, c)) -
                                      parts.tokens.begin());
  };
  parts.merges.push_back({token_of('l'), token_of('o'), 256});
  parts.tokens.emplace_back("lo");
  parts.end_of_text = 257;
  parts.tokens.emplace_back(end_of_text_name);
  return Tokenizer(std::move(parts));
}

class Conllu : public testing::Test {
 protected:
  std::vector<TaggedSentence> read(const std::string& text) {
    std::ofstream(file_) << text;
    return read_conllu(file_);
  }
  static std::string word(const char* id, const char* form, const char* tag,
                          const char* rest = "_") {
    return fmt::format("{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t{}\n", id, form, tag, rest);
  }
  TemporaryFolder folder_;
  std::string file_ = folder_ / "tags.conllu";
};

TEST_F(Conllu, SentencesAreTheirWordsWithTheirSpaces) {
  const auto sentences = read(
      "# sent_id = 1\n" + word("1", "Hello", "INTJ", "SpaceAfter=No") + word("2", ",", "PUNCT") +
      word("3-4", "don't", "_") + word("3", "do", "AUX") + word("4", "n't", "PART") +
      word("4.1", "ghost", "VERB") + word("5", "go", "VERB") + "\n" + word("1", "Yes", "INTJ"));
  ASSERT_EQ(sentences.size(), 2U);
  EXPECT_EQ(sentences[0].text, "Hello, don't go ");
  std::vector<std::string> tags;
  for (const TaggedSentence::Word& w : sentences[0].words) tags.push_back(w.tag);
  EXPECT_THAT(tags, ElementsAre("INTJ", "PUNCT", "AUX", "VERB"));
  EXPECT_EQ(sentences[1].text, "Yes ");
}

TEST_F(Conllu, ATokenHasTheTagOfItsFirstByteThatIsNoSpace) {
  const Tokenizer tokenizer = byte_tokenizer();
  const auto sentences =
      read(word("1", "hel", "A", "SpaceAfter=No") + word("2", "o", "B") + word("3", "x", "C"));
  const TaggedSentence& sentence = sentences[0];
  ASSERT_EQ(sentence.text, "helo x ");
  std::vector<std::uint32_t> ids = {tokenizer.end_of_text()};
  tokenizer.encode(sentence.text, ids);  // h e lo _ x _
  const std::vector<std::int32_t> tokens(ids.begin(), ids.end());
  EXPECT_THAT(tags_of_tokens(sentence, tokens, tokenizer),
              ElementsAre("END", "A", "A", "A", "SPACE", "C", "SPACE"));
}

TEST_F(Conllu, WhatIsNoSuchFileIsRefusedWithItsLine) {
  EXPECT_THAT(error_of(ExitCode::data, [&] { read(word("1", "a", "X") + "2\tb\n"); }),
              HasSubstr("tags.conllu:2: 2 columns, CoNLL-U has 10"));
  EXPECT_THAT(error_of(ExitCode::data, [&] { read(word("one", "a", "X")); }),
              HasSubstr("tags.conllu:1: \"one\" is no word's number"));
  EXPECT_THAT(error_of(ExitCode::data, [&] { read("# nothing\n\n"); }), HasSubstr("no sentences"));
  EXPECT_THAT(error_of(ExitCode::data, [] { read_conllu("nowhere.conllu"); }),
              HasSubstr("nowhere.conllu"));
}

// Two layers, of which the second has no gates; two iterations; four tokens.
struct Example {
  RouteTexts texts{{"a.txt"}, {"word", "other"}, false, {{0, {257, 1, 2, 3}, {1, 0, 0, 1}}}};
  RouteTable table;
  Example() {
    table.layers = 2;
    table.iterations = 2;
    table.tokens = 4;
    table.ids = texts.texts[0].tokens;
    table.positions = {0, 1, 2, 3};
    table.classes = texts.texts[0].classes;
    table.corpora = {0, 0, 0, 0};
    table.texts = {0, 0, 0, 0};
    table.nats = {1, 2, 3, std::nanf("")};
    const float none = std::nanf("");
    const std::vector<float> shares = {0.01F, 0.5F, 0.7F, 0.99F, none, none, none, none};
    for (auto* column : {&table.gate_deep, &table.gate_wide, &table.gate_entropy, &table.deep_share,
                         &table.cosine, &table.deep_update_norm, &table.wide_update_norm})
      *column = shares;
    table.input_norm.assign(8, 2);
    table.expected_iterations = {1, 1.5F, 1.5F, 2, 1, 1, 1, 1};
    table.weights = {1, 0.5F, 0.5F, 0, 0, 0.5F, 0.5F, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    table.q = table.weights;
    table.changes.assign(16, 3);
  }
};

TEST(RouteSummary, MeansGroupsAndCollapse) {
  const Example example;
  const RouteSummary summary = summarize(example.table, example.texts);
  EXPECT_EQ(summary.nats, 2);
  EXPECT_THAT(summary.class_tokens, ElementsAre(2U, 2U));
  const LayerFigures& layer = summary.layers[0];
  EXPECT_NEAR(layer.all.deep_share, 0.55, 1e-6);
  EXPECT_EQ(layer.all.collapsed_wide, 0.25);
  EXPECT_EQ(layer.all.collapsed_deep, 0.25);
  EXPECT_NEAR(layer.by_class[0].deep_share, 0.6, 1e-6);
  EXPECT_NEAR(layer.by_class[1].deep_share, 0.5, 1e-6);
  ASSERT_EQ(layer.by_position.size(), 3U);  // 0, 1, 2 to 3
  EXPECT_EQ(layer.by_position[2].tokens, 2U);
  EXPECT_NEAR(layer.effective_iterations, 1.5, 1e-6);  // 1, 2, 2, 1
  EXPECT_THAT(layer.mean_weight, ElementsAre(0.5, 0.5));
  double density = 0;
  for (const double share : layer.deep_share_density) density += share;
  EXPECT_NEAR(density, 1, 1e-9);
  EXPECT_TRUE(std::isnan(summary.layers[1].all.deep_share));
  EXPECT_EQ(summary.layers[1].all.input_norm, 2);
  const Json json = to_json(summary, example.texts);
  EXPECT_EQ(json["layers"][0]["classes"]["word"]["tokens"], 2);
  EXPECT_TRUE(Json::parse(json.dump())["layers"][1]["deep_share"].is_null());
}

TEST(RouteSummary, PositionsAreInPowersOfTwo) {
  EXPECT_EQ(position_bucket_name(position_bucket(0)), "0");
  EXPECT_EQ(position_bucket_name(position_bucket(1)), "1");
  EXPECT_EQ(position_bucket_name(position_bucket(3)), "2 to 3");
  EXPECT_EQ(position_bucket_name(position_bucket(4)), "4 to 7");
  EXPECT_EQ(position_bucket_name(position_bucket(1023)), "512 to 1023");
}

TEST(RoutePage, NeedsNoOtherFileAndTellsEveryToken) {
  const Example example;
  const Tokenizer tokenizer = byte_tokenizer();
  const RouteSummary summary = summarize(example.table, example.texts);
  const std::string page =
      route_page({example.table, example.texts, summary, tokenizer, "run <1>"});
  EXPECT_THAT(page, HasSubstr("Routes of run &lt;1&gt;"));
  EXPECT_THAT(page, testing::Not(testing::AnyOf(HasSubstr("http"), HasSubstr("src="),
                                                HasSubstr("@import"))));
  std::size_t spans = 0;
  for (std::size_t at = 0; (at = page.find("<span tabindex", at)) != std::string::npos; ++at)
    ++spans;
  EXPECT_EQ(spans, 3U);  // all but the end of a document
  EXPECT_THAT(page, HasSubstr("deep share 0.500"));
}

}  // namespace
}  // namespace dualpath
