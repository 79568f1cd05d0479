#include "core/config/config.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <random>

#include "core/config/nearest.h"
#include "tests/config_example.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using test_config::Color;
using test_config::Inner;
using test_config::Outer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Outer read(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  ConfigSource source;
  source.add_text(yaml, "a.yaml");
  for (const std::string& assignment : overrides) source.add_override(assignment);
  ConfigProblems problems;
  Outer config = read_config<Outer>(source, problems);
  throw_if_any(problems, source);
  return config;
}

TEST(ReadConfig, NothingGivenIsTheDefaults) {
  for (const char* yaml : {"", "# nothing\n", "inner:\n", "---\n"}) {
    const Outer config = read(yaml);
    EXPECT_EQ(config.count, 3) << yaml;
    EXPECT_EQ(config.inner.layers, 4) << yaml;
    EXPECT_THAT(config.inner.betas, ElementsAre(0.9, 0.95)) << yaml;
  }
}

TEST(ReadConfig, EveryType) {
  const Outer config = read(
      "flag: true\ncount: -7\nrate: 1.5e-3\nname: a b\ncolor: dark_blue\n"
      "inner: {layers: 64, betas: [0.5, 1], colors: [red, green]}\n"
      "items:\n  - path: x\n  - {path: y, weight: 2}\n");
  EXPECT_TRUE(config.flag);
  EXPECT_EQ(config.count, -7);
  EXPECT_EQ(config.rate, 1.5e-3);
  EXPECT_EQ(config.name, "a b");
  EXPECT_EQ(config.color, Color::dark_blue);
  EXPECT_EQ(config.inner.layers, 64);
  EXPECT_THAT(config.inner.betas, ElementsAre(0.5, 1.0));
  EXPECT_THAT(config.inner.colors, ElementsAre(Color::red, Color::green));
  ASSERT_EQ(config.items.size(), 2u);
  EXPECT_EQ(config.items[0].weight, 1);
  EXPECT_EQ(config.items[1].path, "y");
  EXPECT_EQ(config.items[1].weight, 2);
}

TEST(ReadConfig, IntegersMayBeWrittenAsFloats) {
  EXPECT_EQ(read("count: 1e9").count, 1000000000);
  EXPECT_EQ(read("count: 2.0").count, 2);
  EXPECT_EQ(read("count: +5").count, 5);
  EXPECT_EQ(read("count: -9223372036854775808").count, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(read("count: 9223372036854775807").count, std::numeric_limits<std::int64_t>::max());
}

TEST(ReadConfig, ASingleValueIsAListOfOne) {
  const Outer config = read("inner: {betas: 0.5, colors: green}\nitems: {path: x}");
  EXPECT_THAT(config.inner.betas, ElementsAre(0.5));
  EXPECT_THAT(config.inner.colors, ElementsAre(Color::green));
  ASSERT_EQ(config.items.size(), 1u);
  EXPECT_EQ(config.items[0].path, "x");
}

TEST(ReadConfig, TextsStayTexts) {
  EXPECT_EQ(read("name: 0123").name, "0123");
  EXPECT_EQ(read("name: true").name, "true");
  EXPECT_EQ(read("name: \"null\"").name, "null");
  EXPECT_EQ(read("name: null").name, "");
  EXPECT_EQ(read("", {"name="}).name, "");
  EXPECT_EQ(read("", {"name=a=b"}).name, "a=b");
}

TEST(ReadConfig, LaterSourcesWinFieldByField) {
  ConfigSource source;
  source.add_text("inner: {layers: 5, betas: [0.1, 0.2]}\ncount: 1", "base.yaml");
  source.add_text("inner:\n  layers: 6\ncount: 2", "over.yaml");
  source.add_text("inner:\n", "empty_section.yaml");
  source.add_override("inner.betas=[0.3]");
  source.add_override("items=[{path: x, weight: 3}]");
  ConfigProblems problems;
  const Outer config = read_config<Outer>(source, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(config.inner.layers, 6);
  EXPECT_EQ(config.count, 2);
  EXPECT_THAT(config.inner.betas, ElementsAre(0.3));
  ASSERT_EQ(config.items.size(), 1u);
  EXPECT_EQ(config.items[0].weight, 3);
}

TEST(ReadConfig, FilesAreReadAndNamed) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "config_test.yaml";
  std::ofstream(path) << "count: 5\nrate: x\n";
  ConfigSource source;
  source.add_file(path);
  ConfigProblems problems;
  EXPECT_EQ(read_config<Outer>(source, problems).count, 5);
  EXPECT_EQ(source.origin_of("rate"), path.string() + ":2");
  std::filesystem::remove(path);
}

// Files by name in a folder of their own, and what is read from one of them.
class BaseFiles : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  ConfigSource source_of(const std::string& name) {
    ConfigSource source;
    source.add_file(folder_ / name);
    return source;
  }
  // All that is wrong, with the folder's path left out.
  std::string problems_of(const std::string& name) {
    ConfigProblems problems;
    const ConfigSource source = source_of(name);
    read_config<Outer>(source, problems);
    std::string text;
    for (const ConfigProblem& problem : problems.all()) text += problem.message + '\n';
    const std::string prefix = folder_.path() + "/";
    for (auto at = text.find(prefix); at != text.npos; at = text.find(prefix))
      text.erase(at, prefix.size());
    return text;
  }

  TemporaryFolder folder_;
};

TEST_F(BaseFiles, AFileOverridesItsBases) {
  write("common/lowest.yaml", "count: 1\nrate: 1\nname: lowest\ninner: {layers: 5}\n");
  write("common/base.yaml", "base: lowest.yaml\nrate: 2\nname: base\n");
  write("other.yaml", "name: other\n");
  write("runs/run.yaml", "base: [../common/base.yaml, ../other.yaml]\ncount: 3\n");
  ConfigSource source = source_of("runs/run.yaml");
  source.add_override("inner.betas=[0.3]");
  ConfigProblems problems;
  const Outer config = read_config<Outer>(source, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(config.count, 3);
  EXPECT_EQ(config.rate, 2);
  EXPECT_EQ(config.name, "other");
  EXPECT_EQ(config.inner.layers, 5);
  EXPECT_THAT(config.inner.betas, ElementsAre(0.3));
  // Each value keeps its place.
  EXPECT_EQ(source.origin_of("rate"), (folder_ / "common/base.yaml") + ":2");
  EXPECT_EQ(source.origin_of("count"), (folder_ / "runs/run.yaml") + ":2");
  EXPECT_EQ(source.folder_of("rate"), folder_ / "common");
  EXPECT_EQ(source.folder_of("inner.betas"), "");
}

TEST_F(BaseFiles, TheBaseGivenAsWellChangesNothing) {
  write("base.yaml", "count: 1\nrate: 1\n");
  write("run.yaml", "base: base.yaml\ncount: 3\n");
  ConfigSource source = source_of("base.yaml");
  source.add_file(folder_ / "run.yaml");
  ConfigProblems problems;
  const Outer config = read_config<Outer>(source, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(config.count, 3);
  EXPECT_EQ(config.rate, 1);
}

TEST_F(BaseFiles, WhatCannotBeIsTold) {
  write("a.yaml", "count: 1\nbase: b.yaml\n");
  write("b.yaml", "base: a.yaml\n");
  EXPECT_EQ(problems_of("a.yaml"),
            "b.yaml:1: base: a file is its own base: a.yaml -> b.yaml -> a.yaml\n");
  write("self.yaml", "base: self.yaml\n");
  EXPECT_EQ(problems_of("self.yaml"),
            "self.yaml:1: base: a file is its own base: self.yaml -> self.yaml\n");
  write("lost.yaml", "count: 1\nbase: nowhere.yaml\n");
  EXPECT_EQ(problems_of("lost.yaml"),
            "lost.yaml:2: base: nowhere.yaml: cannot be read: No such file or directory\n");
  write("wrong.yaml", "base: {x: 1}\n");
  EXPECT_EQ(problems_of("wrong.yaml"), "wrong.yaml:1: base: wants a file, or a list of files\n");
  write("below.yaml", "inner: {base: a.yaml}\n");
  EXPECT_THAT(problems_of("below.yaml"), HasSubstr("unknown key"));
}

// Each file has the next twice: 2^20 files, if all were read.
TEST_F(BaseFiles, BasesUponBasesEnd) {
  for (int i = 0; i < 20; ++i) {
    const std::string next = "f" + std::to_string(i + 1) + ".yaml";
    write("f" + std::to_string(i) + ".yaml", "base: [" + next + ", " + next + "]\n");
  }
  write("f20.yaml", "count: 1\n");
  EXPECT_THAT(
      problems_of("f0.yaml"),
      HasSubstr("base: more than 64 files, or 16 bases one upon the other: f0.yaml -> f1.y"));
}

TEST(PrintConfig, IsCompleteYaml) {
  Outer config;
  config.items = {{"data/x", 0.25}, {"a: b", 1}};
  config.rate = 1e-5;
  EXPECT_EQ(print_config(config),
            "flag: false\n"
            "count: 3\n"
            "rate: 1.0e-05\n"
            "name: default\n"
            "color: green\n"
            "inner:\n"
            "  layers: 4\n"
            "  betas: [0.9, 0.95]\n"
            "  colors: [red]\n"
            "items:\n"
            "- path: data/x\n"
            "  weight: 0.25\n"
            "- path: \"a: b\"\n"
            "  weight: 1\n");
}

TEST(PrintConfig, AwkwardTextsReadBack) {
  for (const std::string text :
       {"",       " ",         "null", "~",   "-",    "- a",   "a: b",     "a #b",
        "#",      "'",         "\"",   "\\",  "\\n",  "a\nb",  "\t",       "\x01\x7f",
        "{a}",    "[",         "&a",   "*a",  "!a",   "%",     "@",        "`",
        "---",    "...",       "?",    "1e5", "true", "Ünï ∂", "\xc2\x85", "\xe2\x80\xa8",
        "a\r\nb", "trailing ", ","}) {
    Outer config;
    config.name = text;
    config.items = {{text, 1}};
    const Outer again = read(print_config(config));
    EXPECT_EQ(again.name, text);
    ASSERT_EQ(again.items.size(), 1u);
    EXPECT_EQ(again.items[0].path, text);
  }
}

// Random configs, by bits rather than by niceness: printing and reading is the identity, and the
// comparison finds exactly the fields that were changed.
TEST(PrintConfig, RandomConfigsReadBack) {
  std::mt19937_64 random(1);
  const auto real = [&] {
    double value = 0;
    do {
      const std::uint64_t bits = random();
      std::memcpy(&value, &bits, sizeof value);
    } while (!std::isfinite(value));
    return value;
  };
  for (int trial = 0; trial < 300; ++trial) {
    Outer config;
    config.flag = random() % 2 == 0;
    config.count = static_cast<std::int64_t>(random());
    config.rate = real();
    config.color = static_cast<Color>(random() % 3);
    config.name.clear();
    for (auto n = random() % 6; n > 0; --n) config.name += static_cast<char>(random() % 128);
    config.inner.betas.clear();
    for (auto n = random() % 4; n > 0; --n) config.inner.betas.push_back(-std::abs(real()));
    config.inner.colors.resize(random() % 3, Color::dark_blue);
    for (auto n = random() % 3; n > 0; --n) config.items.push_back({"p", std::abs(real())});

    const std::string text = print_config(config);
    const Outer again = read(text);
    EXPECT_EQ(again.flag, config.flag);
    EXPECT_EQ(again.count, config.count);
    EXPECT_EQ(again.rate, config.rate);
    EXPECT_EQ(again.color, config.color);
    EXPECT_EQ(again.name, config.name) << text;
    EXPECT_EQ(again.inner.betas, config.inner.betas);
    EXPECT_EQ(again.inner.colors, config.inner.colors);
    EXPECT_EQ(print_config(again), text);
    EXPECT_TRUE(compare_configs(config, again).empty());
  }
}

// Overrides in any order and number act as assignments, the last one of a key counting.
TEST(ReadConfig, RandomOverridesActAsAssignments) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 200; ++trial) {
    Outer expected;
    std::vector<std::string> overrides;
    for (int n = 0; n < 8; ++n) {
      const std::int64_t value = static_cast<std::int64_t>(random() % 60) + 1;
      switch (random() % 4) {
        case 0:
          expected.count = value;
          overrides.push_back("count=" + std::to_string(value));
          break;
        case 1:
          expected.inner.layers = value;
          overrides.push_back("inner.layers=" + std::to_string(value));
          break;
        case 2:
          expected.inner.betas = {-static_cast<double>(value), 1};
          overrides.push_back("inner.betas=[-" + std::to_string(value) + ", 1]");
          break;
        case 3:
          expected.inner = Inner();
          expected.inner.layers = value;
          overrides.push_back("inner={layers: " + std::to_string(value) + ", betas: [0.9, 0.95]}");
          break;
      }
    }
    EXPECT_EQ(print_config(read("", overrides)), print_config(expected));
  }
}

TEST(CompareConfigs, NamesEveryDifference) {
  Outer before, after;
  before.items = {{"x", 1}, {"y", 1}};
  after.items = {{"x", 2}};
  after.inner.layers = 5;
  after.name = "b c";
  std::vector<std::string> changes;
  for (const ConfigChange& change : compare_configs(before, after)) {
    changes.push_back(change.key + "|" + change.before + "|" + change.after);
  }
  EXPECT_THAT(changes,
              ElementsAre("name|default|\"b c\"", "inner.layers|4|5", "items[0].weight|1|2",
                          "items[1].path|y|", "items[1].weight|1|"));
}

TEST(ConfigHelp, HasOneLineAField) {
  EXPECT_EQ(config_help<Outer>(),
            "  flag            false        on or off\n"
            "  count           3            any integer\n"
            "  rate            0.1          any number\n"
            "  name            default      any text\n"
            "  color           green        a color (red | green | dark_blue)\n"
            "\ninner: the inner things\n"
            "  inner.layers    4            [layers] how many\n"
            "  inner.betas     [0.9, 0.95]  two numbers\n"
            "  inner.colors    [red]        one or many (red | green | dark_blue)\n"
            "\nitems: the items\n"
            "  items[].path    \"\"           a folder\n"
            "  items[].weight  1            its share\n");
}

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("layers", "layers"), 0u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("trian", "train"), 1u);  // a swap
  const std::vector<std::string> verbs = {"train", "tokenize", "plan"};
  EXPECT_EQ(nearest("trian", verbs), "train");
  EXPECT_EQ(nearest("tokenise", verbs), "tokenize");
  EXPECT_EQ(nearest("checkpoint", verbs), "");
}

}  // namespace
}  // namespace dualpath
