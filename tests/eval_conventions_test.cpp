// How texts become tokens that are scored, and how a task's items are counted:
// lm-evaluation-harness's conventions, case by case, and what is refused.
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/text/bpe_trainer.h"
#include "launcher/evaluate/intervention.h"
#include "launcher/evaluate/json_lines.h"
#include "launcher/evaluate/task_evaluation.h"
#include "launcher/evaluate/task_layouts.h"
#include "launcher/evaluate/task_reader.h"
#include "launcher/evaluate/text_encoding.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

void expect_error(ExitCode code, const std::string& part, const std::function<void()>& action) {
  EXPECT_THAT(error_of(code, action), testing::HasSubstr(part));
}

// Bytes are tokens; so are "ab" and " c".
Tokenizer small_tokenizer() {
  TokenizerParts parts;
  for (const std::uint8_t byte : gpt2_byte_order())
    parts.tokens.emplace_back(1, static_cast<char>(byte));
  const auto token_of = [&](char c) {
    for (std::uint32_t id = 0; id < 256; ++id) {
      if (parts.tokens[id][0] == c) return id;
    }
    return 0U;
  };
  for (const std::string pair : {"ab", " c"}) {
    parts.merges.push_back(
        {token_of(pair[0]), token_of(pair[1]), static_cast<std::uint32_t>(parts.tokens.size())});
    parts.tokens.push_back(pair);
  }
  parts.end_of_text = static_cast<std::uint32_t>(parts.tokens.size());
  parts.tokens.emplace_back(end_of_text_name);
  return Tokenizer(std::move(parts));
}

class Pairs : public testing::Test {
 protected:
  // "context|continuation" as the tokens say it.
  std::string cut(std::string_view context, std::string_view continuation,
                  std::int64_t length = 100) {
    const EncodedPair pair = encode_pair(tokenizer, context, continuation, length);
    std::string text;
    for (std::size_t i = 0; i < pair.text.tokens.size(); ++i) {
      const auto id = static_cast<std::uint32_t>(pair.text.tokens[i]);
      if (i == pair.text.first_scored) text += "|";
      text += id == tokenizer.end_of_text() ? "<end>" : tokenizer.decode(std::span(&id, 1));
    }
    return text;
  }
  Tokenizer tokenizer = small_tokenizer();
};

TEST_F(Pairs, TheContinuationBeginsBehindTheContextsTokens) {
  EXPECT_EQ(cut("xy", " c"), "xy| c");
  EXPECT_EQ(cut("xy", "ab"), "xy|ab");
}

TEST_F(Pairs, SpacesAtTheContextsEndGoToTheContinuation) {
  EXPECT_EQ(cut("xy ", "c"), "xy| c");
  EXPECT_EQ(cut("xy \n\t", "c"), "xy| \n\tc");
  EXPECT_EQ(cut("xy\u00a0\u2003", "c"), "xy|\u00a0\u2003c");
}

TEST_F(Pairs, AnEmptyContextIsTheEndOfADocument) {
  EXPECT_EQ(cut("", "ab"), "<end>|ab");
  EXPECT_EQ(cut("  ", "ab"), "<end>|  ab");
}

TEST_F(Pairs, LongContextsLoseTheirFirstTokens) {
  EXPECT_EQ(cut("uvwxy", "zab", 4), "wxy|zab");
  EXPECT_EQ(cut("uvwxy", "zzzz", 4), "y|zzzz");
  EXPECT_EQ(encode_pair(tokenizer, "uvwxy", "zab", 4).tokens_cut, 2U);
  EXPECT_EQ(encode_pair(tokenizer, "uvwxy", "zab", 100).tokens_cut, 0U);
}

TEST_F(Pairs, WhatHasNothingToScoreIsRefused) {
  expect_error(ExitCode::data, "the continuation is empty",
               [&] { encode_pair(tokenizer, "x", "", 9); });
  expect_error(ExitCode::data, "no token of its own",
               [&] { encode_pair(tokenizer, "xa", "b", 9); });
  expect_error(ExitCode::data, "5 tokens, the model's sequence_length is 4",
               [&] { encode_pair(tokenizer, "x", "zzzzz", 4); });
}

// Windows of lm-evaluation-harness's get_rolling_token_windows() and make_disjoint_window(),
// context_len 1, over tokens 0, 1, 2, ... "context|scored".
std::string windows_of(std::size_t tokens, std::int64_t length, std::size_t part) {
  RollingWindows windows(99, length);
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < tokens; ++i) ids.push_back(i);
  std::vector<ScoredText> cut;
  for (std::size_t at = 0; at < tokens; at += part)
    windows.append(std::span(ids).subspan(at, std::min(part, tokens - at)), cut);
  windows.finish(cut);
  std::string text;
  for (const ScoredText& window : cut) {
    for (std::size_t i = 0; i < window.tokens.size(); ++i)
      text += fmt::format("{}{}",
                          i == window.first_scored ? "|"
                          : i > 0                  ? " "
                                                   : "",
                          window.tokens[i]);
    text += "\n";
  }
  return text;
}

TEST(RollingWindows, AreThoseOfLmEvaluationHarness) {
  for (const std::size_t part : {1, 2, 3, 100}) {
    EXPECT_EQ(windows_of(0, 4, part), "");
    EXPECT_EQ(windows_of(1, 4, part), "99|0\n");
    EXPECT_EQ(windows_of(3, 4, part), "99|0 1 2\n");
    EXPECT_EQ(windows_of(4, 4, part), "99|0 1 2 3\n");
    EXPECT_EQ(windows_of(5, 4, part), "99|0 1 2 3\n0 1 2 3|4\n");
    EXPECT_EQ(windows_of(10, 4, part), "99|0 1 2 3\n3|4 5 6 7\n5 6 7|8 9\n");
    EXPECT_EQ(windows_of(12, 4, part), "99|0 1 2 3\n3|4 5 6 7\n7|8 9 10 11\n");
  }
}

class TaskFiles : public testing::Test {
 protected:
  Task read(const std::string& text) {
    const std::string file = folder / "task.jsonl";
    std::ofstream(file) << text;
    return read_task(file);
  }
  void refused(const std::string& line, const std::string& message) {
    expect_error(ExitCode::data, "task.jsonl:2: " + message, [&] {
      read(R"({"context": "x", "continuations": [" y", " z"], "gold": 1})"
           "\n" +
           line);
    });
  }
  TemporaryFolder folder;
};

TEST_F(TaskFiles, ItemsAreReadWithTheirPrefixes) {
  const Task task = read(
      R"({"context": "x", "continuations": [" y", " z"], "gold": 1, "prefix": "p ", "more": 3})"
      "\n\n"
      R"({"contexts": ["u", "v"], "continuations": [" w"], "gold": 0, "unconditional_context": ""})"
      "\n");
  EXPECT_EQ(task.name, "task");
  ASSERT_EQ(task.items.size(), 2U);
  EXPECT_THAT(task.items[0].contexts, testing::ElementsAre("p x", "p x"));
  EXPECT_EQ(task.items[0].gold, 1U);
  EXPECT_FALSE(task.items[0].unconditional_context);
  EXPECT_THAT(task.items[1].contexts, testing::ElementsAre("u", "v"));
  EXPECT_THAT(task.items[1].continuations, testing::ElementsAre(" w", " w"));
  EXPECT_EQ(task.items[1].unconditional_context, "");
  EXPECT_EQ(task.items[1].line, 3U);
}

TEST_F(TaskFiles, WhatIsNoItemIsRefusedWithItsLine) {
  refused("{", "not JSON");
  refused("[1]", "no JSON object, but array");
  refused("{\"context\": \"\xff\"}", "not UTF-8");
  refused(R"({"context": "x", "gold": 0})", "there is no \"continuations\"");
  refused(R"({"context": "x", "continuations": [], "gold": 0})", "\"continuations\" is no list");
  refused(R"({"context": "x", "continuations": [" y", 3], "gold": 0})", "\"continuations\" has 3");
  refused(R"({"context": "x", "continuations": [" y"], "gold": 1})",
          "\"gold\" is 1, there are 1 continuations");
  refused(R"({"context": "x", "continuations": [" y", " z"], "gold": -1})", "\"gold\" is -1");
  refused(R"({"context": "x", "continuations": [" y", " z"], "gold": "1"})", "\"gold\" is \"1\"");
  refused(R"({"context": "x", "continuations": [" y", " z"]})", "there is no \"gold\"");
  refused(R"({"continuations": [" y"], "gold": 0})", "there must be \"context\" or \"contexts\"");
  refused(R"({"context": "x", "contexts": ["x"], "continuations": [" y"], "gold": 0})",
          "there must be \"context\" or \"contexts\", one of them");
  refused(R"({"contexts": ["x", "y", "z"], "continuations": [" y", " z"], "gold": 0})",
          "3 contexts for 2 continuations");
  expect_error(ExitCode::data, "no items", [&] { read("\n"); });
  expect_error(ExitCode::data, "nowhere.jsonl", [&] { read_task("nowhere.jsonl"); });
}

std::string item_of(const std::string& line) {
  return as_task_item(parse_object(line)).dump();
}

// Prompts of lm-evaluation-harness 0.4.13; tests/reference/check_tasks.py compares them with its
// own.
TEST(TaskLayouts, AreThoseThatAreKnown) {
  const std::string arc =
      R"({"context":"Question: Why?\nAnswer:","continuations":[" a"," b"],"gold":1})";
  EXPECT_EQ(item_of(R"({"id": "x", "question": "Why?", "choices": {"text": ["a", "b"],
                        "label": ["1", "2"]}, "answerKey": "2"})"),
            arc);
  EXPECT_EQ(item_of(R"({"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"},
                        {"text": "b", "label": "B"}]}, "answerKey": "B"})"),
            arc);
  EXPECT_EQ(
      item_of(R"({"question": "Why? ", "question_concept": "c", "answerKey": "A",
                  "choices": {"text": ["a", "b"], "label": ["A", "B"]}})"),
      R"({"context":"Question: Why?\nA. a\nB. b\nAnswer:","continuations":[" A"," B"],"gold":0})");
  EXPECT_EQ(item_of(R"({"question_stem": "It is", "answerKey": "B",
                        "choices": {"text": ["a", "b"], "label": ["A", "B"]}})"),
            R"({"context":"It is","continuations":[" a"," b"],"gold":1})");
  EXPECT_EQ(
      item_of(R"({"activity_label": "Sport", "ctx_a": "A man [x] runs.", "ctx_b": "he AND she",
                  "endings": ["stop [title] now", "go  on"], "label": "1"})"),
      R"({"context":"Sport: A man runs. He and she","continuations":[" stop. now"," go on"],"gold":1})");
  EXPECT_EQ(item_of(R"({"goal": "Do", "sol1": "so", "sol2": "thus", "label": 0})"),
            R"({"context":"Question: Do\nAnswer:","continuations":[" so"," thus"],"gold":0})");
  EXPECT_EQ(item_of(R"({"sentence": "As _ ran. ", "option1": "A", "option2": "B", "answer": "2"})"),
            R"({"contexts":["As A","As B"],"continuations":[" ran."],"gold":1})");
  EXPECT_EQ(
      item_of(R"({"premise": "It rained.", "choice1": "We ran.", "choice2": "I Sang.",
                        "question": "effect", "label": 1})"),
      R"({"context":"It rained therefore","continuations":["  we ran.","  i Sang."],"gold":1})");
  EXPECT_EQ(item_of(R"({"context": "C.", "question": "Q?", "answerA": "a", "answerB": "b",
                        "answerC": "c", "label": "3"})"),
            R"({"context":"Q: C. Q?\nA:","continuations":[" a"," b"," c"],"gold":2})");
  EXPECT_EQ(item_of(R"({"text": "the very last word"})"),
            R"({"context":"the very last","continuations":[" word"],"gold":0})");
  EXPECT_EQ(item_of(R"({"query": "Question: q\n", "choices": ["a"], "gold": 0})"),
            R"({"context":"Question: q\nAnswer:","continuations":[" a"],"gold":0})");
}

TEST(TaskLayouts, WrongAnswersAreRefused) {
  const auto refused = [](const std::string& line, const std::string& message) {
    expect_error(ExitCode::data, message, [&] { item_of(line); });
  };
  refused(R"({"goal": "Do", "sol1": "so", "sol2": "thus", "label": 2})", "\"2\" is none");
  refused(R"({"goal": "Do", "sol1": "so", "sol2": "thus"})", "there is no \"label\"");
  refused(R"({"sentence": "ran.", "option1": "A", "option2": "B", "answer": "2"})", "no \"_\"");
  refused(
      R"({"question": "Why?", "choices": {"text": ["a"], "label": ["A", "B"]}, "answerKey": "A"})",
      "1 choices have 2 labels");
  refused(R"({"text": "word"})", "no last word");
}

TEST_F(TaskFiles, RequestsThatOlmesRendered) {
  std::ofstream(folder / "config.json")
      << R"({"task_config": {"task_name": "arc", "primary_metric": "acc_per_char"}})";
  const auto request = [](int doc, int idx, const char* continuation, const char* label,
                          const char* context = "Q:") {
    return fmt::format(R"({{"request": {{"context": "{}", "continuation": "{}"}}, "doc_id": {}, )"
                       R"("idx": {}, "label": {}}})"
                       "\n",
                       context, continuation, doc, idx, label);
  };
  const Task task =
      read(request(0, 0, " a", "1") + request(0, 1, " b", "1") + request(1, 0, " c", "0") +
           request(1, 1, " d", "0") + request(1000000, 0, " a", "1", "Answer:") +
           request(1000000, 1, " b", "1", "Answer:"));
  EXPECT_EQ(task.name, "arc");
  EXPECT_EQ(task.primary_metric, "accuracy_per_character");
  ASSERT_EQ(task.items.size(), 2U);
  EXPECT_THAT(task.items[0].continuations, testing::ElementsAre(" a", " b"));
  EXPECT_EQ(task.items[0].gold, 1U);
  EXPECT_EQ(task.items[0].unconditional_context, "Answer:");
  EXPECT_TRUE(task.items[0].counts_leading_space);
  EXPECT_FALSE(task.items[1].unconditional_context);
  const Task worked = read(request(0, 0, " 3 + 4 = 7", "\"7\"") + request(1, 0, " 8", "[\"8\"]"));
  EXPECT_EQ(worked.items.size(), 2U);
  EXPECT_EQ(worked.primary_metric, "bits_per_byte");
  expect_error(ExitCode::data, ":1: \"label\" is 2, there are 1 continuations",
               [&] { read(request(0, 0, " a", "2")); });
  expect_error(ExitCode::data, ":1: no request with \"doc_id\" 5",
               [&] { read(request(1000005, 0, " a", "0")); });
}

// One token a byte, but for "ab" and " c".
std::vector<std::string> classes_of(std::string_view text) {
  const Tokenizer tokenizer = small_tokenizer();
  std::vector<std::uint32_t> ids;
  tokenizer.encode(text, ids);
  std::vector<std::string> names;
  for (const TokenClass c :
       token_classes(tokenizer, std::vector<std::int32_t>(ids.begin(), ids.end())))
    names.emplace_back(enum_name(c));
  return names;
}

TEST(TokenClasses, AWordsPiecesHaveTheClassOfTheWord) {
  using testing::Each;
  EXPECT_THAT(classes_of("because"), Each("function_word"));
  EXPECT_THAT(classes_of("cabbages"), Each("lexical_word"));
  EXPECT_THAT(classes_of("Don't"), Each("function_word"));
  EXPECT_THAT(classes_of("caf\u00e9"), Each("lexical_word"));
  EXPECT_THAT(classes_of("1874"), Each("number"));
  EXPECT_THAT(classes_of("=+"), Each("number"));
  EXPECT_THAT(classes_of(".,;!?()\u201c"), testing::Contains("punctuation"));
  EXPECT_THAT(classes_of("$%#@"), Each("symbol"));
  EXPECT_THAT(classes_of(" \n"), Each("space"));
  EXPECT_THAT(classes_of("ab 7"), testing::ElementsAre("lexical_word", "space", "number"));
}

TEST(Interventions, ForcedTokensAreThoseOfTheClassesOrAsManyOthers) {
  const Tokenizer tokenizer = small_tokenizer();
  std::vector<std::uint32_t> encoded;
  tokenizer.encode("xy 12 zz 345", encoded);
  const std::vector<std::int32_t> ids(encoded.begin(), encoded.end());
  InterventionConfig config;
  config.force_classes = {TokenClass::number};
  config.force_path = PathChoice::wide;
  ForcedGates forced;
  force_gates(config, tokenizer, ids, 100, forced);
  const std::vector<TokenClass> classes = token_classes(tokenizer, ids);
  ASSERT_EQ(forced.forced.size(), 2 * ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool number = classes[i] == TokenClass::number;
    EXPECT_EQ(forced.forced[2 * i], number ? 0 : -1);
    EXPECT_EQ(forced.forced[2 * i + 1], number ? 1 : -1);
    EXPECT_EQ(forced.source[i], 100 + static_cast<std::int32_t>(i));
  }
  config.random_control = true;
  ForcedGates control;
  force_gates(config, tokenizer, ids, 100, control);
  EXPECT_EQ(std::ranges::count(control.forced, 1), std::ranges::count(forced.forced, 1));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (classes[i] == TokenClass::number) {
      EXPECT_EQ(control.forced[2 * i], -1);
    }
  }
}

TEST(Interventions, ShufflesAreOfTheTextAlone) {
  const Tokenizer tokenizer = small_tokenizer();
  std::vector<std::int32_t> ids(50);
  for (int i = 0; i < 50; ++i) ids[static_cast<std::size_t>(i)] = i;
  InterventionConfig config;
  config.shuffle_gates = true;
  ForcedGates a, b;
  force_gates(config, tokenizer, ids, 0, a);
  force_gates(config, tokenizer, ids, 7, b);
  EXPECT_NE(a.source, std::vector<std::int32_t>(ids.begin(), ids.end()));
  for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(b.source[i], a.source[i] + 7);
  std::ranges::sort(a.source);
  EXPECT_EQ(a.source, ids);
  config.seed = 2;
  ForcedGates other;
  force_gates(config, tokenizer, ids, 7, other);
  EXPECT_NE(other.source, b.source);
}

TEST(Interventions, WhatDoesNotGoTogetherIsRefused) {
  ModelConfig dual, wide;
  wide.architecture = {Architecture::wide};
  const auto refused = [](const ModelConfig& model, const std::string& message,
                          const auto& change) {
    InterventionConfig config;
    change(config);
    expect_error(ExitCode::configuration, message, [&] { check_intervention(config, model); });
  };
  refused(wide, "none of its layers is dual_path", [](auto& c) { c.gate_deep = 1; });
  refused(wide, "no deep path", [](auto& c) { c.iterations = 2; });
  refused(dual, "go together", [](auto& c) { c.force_classes = {TokenClass::number}; });
  refused(dual, "go together", [](auto& c) { c.force_path = PathChoice::deep; });
  refused(dual, "control of force_classes", [](auto& c) { c.random_control = true; });
  refused(dual, "a gate is not negative", [](auto& c) { c.gate_wide = -0.5; });
  refused(dual, "goes without", [](auto& c) {
    c.gate_deep = 1;
    c.off = PathChoice::wide;
  });
}

TEST(BootstrapInterval, IsThatOfTheDocumentsMeans) {
  std::vector<TextCost> documents;
  for (int i = 0; i < 400; ++i)
    documents.push_back({.tokens = 10, .bytes = 40, .nats = 20.0 + (i % 2 == 0 ? 4 : -4)});
  const Percentiles interval = bootstrap_interval(documents);
  // bits per byte: mean 20/(40·ln 2), standard error of the mean 4/(40·ln 2·√400)
  const double mean = 20 / (40 * std::log(2.0)), error = 4 / (40 * std::log(2.0) * 20);
  EXPECT_NEAR(interval.low, mean - 1.96 * error, 0.25 * error);
  EXPECT_NEAR(interval.high, mean + 1.96 * error, 0.25 * error);
  EXPECT_EQ(bootstrap_interval(documents).low, interval.low);
}

}  // namespace
}  // namespace dualpath
