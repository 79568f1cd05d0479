// What a user reads about a config that is wrong.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "core/base/error.h"
#include "core/config/config.h"
#include "tests/config_example.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using test_config::Outer;
using ::testing::HasSubstr;
using ::testing::Not;

// What throw_if_any says about the source; "" if nothing.
std::string problems_of(const ConfigSource& source) {
  ConfigProblems problems;
  read_config<Outer>(source, problems);
  try {
    throw_if_any(problems, source);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what();
  }
  return "";
}

std::string problems_of(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  ConfigSource source;
  source.add_text(yaml, "a.yaml");
  for (const std::string& assignment : overrides) source.add_override(assignment);
  return problems_of(source);
}

TEST(Problems, UnknownKeysNameTheNearest) {
  EXPECT_EQ(problems_of("count: 1\ninner:\n  layer: 3\n"),
            "a.yaml:3: inner.layer: unknown key, did you mean inner.layers?");
  EXPECT_EQ(problems_of("", {"inner.layer=3"}),
            "command line: inner.layer=3: inner.layer: unknown key, did you mean inner.layers?");
  // The right name in the wrong section.
  EXPECT_EQ(problems_of("layers: 3"), "a.yaml:1: layers: unknown key, did you mean inner.layers?");
  EXPECT_EQ(problems_of("items:\n- path: x\n- pth: y\n"),
            "a.yaml:3: items[1].pth: unknown key, did you mean items[1].path?");
  EXPECT_EQ(problems_of("zzzzzzzz: 1"), "a.yaml:1: zzzzzzzz: unknown key");
}

// Entries "codes and messages" of the trials: names of other tools, wherever they are given.
TEST(Problems, OtherToolsNamesSuggestTheFullKey) {
  const std::string unknown = "unknown key, did you mean inner.layers?";
  EXPECT_EQ(problems_of("n_layer: 3"), "a.yaml:1: n_layer: " + unknown);
  EXPECT_EQ(problems_of("num-layers: 3"), "a.yaml:1: num-layers: " + unknown);
  EXPECT_EQ(problems_of("inner: {num_layers: 3}"), "a.yaml:1: inner.num_layers: " + unknown);
  EXPECT_EQ(problems_of("Depth: 3"), "a.yaml:1: Depth: " + unknown);
  EXPECT_EQ(problems_of("num_layer: 3"), "a.yaml:1: num_layer: " + unknown);
  EXPECT_EQ(problems_of("layer: 3"), "a.yaml:1: layer: " + unknown);
  EXPECT_EQ(problems_of("", {"num-layers=3"}),
            "command line: num-layers=3: num-layers: " + unknown);
  EXPECT_EQ(problems_of("speed: 3"), "a.yaml:1: speed: unknown key, did you mean rate?");
  // Below a section that is none.
  EXPECT_EQ(problems_of("network:\n  n_layer: 3\n  zzzzzzzz: 1\n"),
            "a.yaml:1: network: unknown key\na.yaml:2: network.n_layer: " + unknown);
}

TEST(Problems, KeysGivenTwice) {
  EXPECT_EQ(problems_of("inner:\n  layers: 1\n  betas: [0, 0]\n  layers: 2\n"),
            "a.yaml:4: inner.layers: given twice, first at a.yaml:2");
  EXPECT_EQ(problems_of("inner: {}\ncount: 1\ninner: {}\n"),
            "a.yaml:3: inner: given twice, first at a.yaml:1");
}

TEST(Problems, WrongTypes) {
  EXPECT_EQ(problems_of("flag: yes"), "a.yaml:1: flag: wants true or false, found yes");
  EXPECT_EQ(problems_of("count: 1.5"), "a.yaml:1: count: wants an integer, found 1.5");
  EXPECT_EQ(problems_of("count: 1_000"), "a.yaml:1: count: wants an integer, found 1_000");
  EXPECT_EQ(problems_of("count: 0x10"), "a.yaml:1: count: wants an integer, found 0x10");
  EXPECT_EQ(problems_of("count: \"4\""), "a.yaml:1: count: wants an integer, found 4 in quotes");
  EXPECT_EQ(problems_of("count:"), "a.yaml:1: count: wants an integer, found nothing");
  EXPECT_EQ(problems_of("count: [1]"), "a.yaml:1: count: wants an integer, found a list");
  EXPECT_EQ(problems_of("rate: {x: 1}"), "a.yaml:1: rate: wants a number, found a section");
  EXPECT_EQ(problems_of("rate: 1e-3x"), "a.yaml:1: rate: wants a number, found 1e-3x");
  EXPECT_EQ(problems_of("name: [x]"), "a.yaml:1: name: wants a text, found a list");
  EXPECT_EQ(problems_of("inner: 3"), "a.yaml:1: inner: wants a section, found 3");
  EXPECT_EQ(problems_of("items: [x]"), "a.yaml:1: items[0]: wants a section, found x");
  EXPECT_EQ(problems_of("inner:\n  betas:\n  - 0.1\n  - x\n"),
            "a.yaml:4: inner.betas[1]: wants a number, found x");
}

TEST(Problems, NumbersOutsideTheirRange) {
  EXPECT_EQ(problems_of("inner: {layers: 0}"),
            "a.yaml:1: inner.layers: must lie between 1 and 64, found 0");
  EXPECT_EQ(problems_of("inner: {layers: 65}"),
            "a.yaml:1: inner.layers: must lie between 1 and 64, found 65");
  EXPECT_EQ(problems_of("inner: {betas: [1, 1.01]}"),
            "a.yaml:1: inner.betas[1]: must be at most 1, found 1.01");
  EXPECT_EQ(problems_of("items: [{weight: -1}]"),
            "a.yaml:1: items[0].weight: must be at least 0, found -1");
}

TEST(Problems, NumbersThatDoNotFit) {
  const char* integer = "a.yaml:1: count: wants an integer of 64 bits, found ";
  for (const std::string text : {"9223372036854775808", "1e19", "1e999", "inf"}) {
    EXPECT_EQ(problems_of("count: " + text), integer + text);
  }
  const char* real = "a.yaml:1: rate: wants a finite number of 64 bits, found ";
  for (const std::string text : {"nan", "inf", "-inf", "1e999"}) {
    EXPECT_EQ(problems_of("rate: " + text), real + text);
  }
  EXPECT_EQ(problems_of("rate: .nan"), "a.yaml:1: rate: wants a number, found .nan");
}

TEST(Problems, UnknownEnumValues) {
  EXPECT_EQ(problems_of("color: gren"),
            "a.yaml:1: color: wants one of red, green, dark_blue, found gren, did you mean green?");
  EXPECT_EQ(problems_of("inner: {colors: [red, violet]}"),
            "a.yaml:1: inner.colors[1]: wants one of red, green, dark_blue, found violet");
}

TEST(Problems, MalformedYaml) {
  EXPECT_EQ(problems_of("count: 1\ninner: [1, 2\nrate: 3\n"),
            "a.yaml:3:5: malformed YAML: end of sequence flow not found");
  EXPECT_THAT(problems_of("count: 1\n  rate: 2\n"), HasSubstr("a.yaml:2:7: malformed YAML: "));
  EXPECT_EQ(problems_of("- 1\n"), "a.yaml:1: wants sections (\"model:\"), found a list");
  EXPECT_EQ(problems_of("3"), "a.yaml:1: wants sections (\"model:\"), found a single value");
  EXPECT_EQ(problems_of("inner.layers: 3"),
            "a.yaml:1: inner.layers: a key must be one word of letters, digits and _; sections are "
            "nested in YAML, not dotted");
  EXPECT_THAT(problems_of("[a, b]: 3"), HasSubstr("a.yaml:1: "));
}

TEST(Problems, NestingThatNeverEnds) {
  EXPECT_THAT(problems_of("inner: &a [*a, *a]"),
              HasSubstr("a.yaml:1: nested deeper than 32 levels\n"));
  EXPECT_THAT(problems_of(std::string(100000, '[')), HasSubstr("malformed YAML"));
}

// Trial C3: aliases in aliases, written out 10^9 values.
TEST(Problems, AliasesThatMultiply) {
  std::string yaml = "a0: &a0 [x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    yaml += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
    for (int copy = 1; copy < 10; ++copy) yaml += ", " + alias;
    yaml += "]\n";
  }
  EXPECT_THAT(problems_of(yaml), HasSubstr("too many values, with all aliases written out"));
  EXPECT_THAT(problems_of("", {"inner={x: &x [1, 1, 1, 1], y: [*x, *x]}"}), HasSubstr("inner.x"));
  // A long text, many times.
  std::string texts = "name: &n " + std::string(1 << 20, 'x') + "\nitems: [*n";
  for (int i = 0; i < 100; ++i) texts += ", *n";
  EXPECT_THAT(problems_of(texts + "]\n"), HasSubstr("too many values"));
}

// Trial C3: as fast as few, and the first of them told.
TEST(Problems, VeryManyAreToldInPart) {
  std::string yaml;
  for (int i = 0; i < 20000; ++i) yaml += "layer" + std::to_string(i) + ": 1\n";
  const std::string problems = problems_of(yaml);
  EXPECT_THAT(problems, HasSubstr("a.yaml:20: layer19: unknown key"));
  EXPECT_THAT(problems, Not(HasSubstr("layer20:")));
  EXPECT_THAT(problems, HasSubstr("\nand 19980 more"));
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '\n'), 20);
}

TEST(Problems, LongValuesAreToldInPart) {
  EXPECT_EQ(problems_of("count: " + std::string(1000, 'x')),
            "a.yaml:1: count: wants an integer, found " + std::string(80, 'x') + "...");
  EXPECT_LT(problems_of(std::string(1000, 'x') + ": 1").size(), 400u);
  EXPECT_LT(problems_of("", {"count=" + std::string(1000, 'x')}).size(), 400u);
}

// Trial C3: it was ignored, or merged.
TEST(Problems, ASecondDocumentIsRefused) {
  EXPECT_THAT(problems_of("count: 1\n---\ncount: 2\n"),
              HasSubstr("a.yaml:3: a second document (after ---)"));
  EXPECT_EQ(problems_of("---\ncount: 1\n---\n# nothing\n"), "");
}

TEST(Problems, MalformedOverrides) {
  EXPECT_EQ(problems_of("", {"count"}), "command line: count: wants key=value");
  for (const std::string key : {"", ".count", "inner..layers", "inner.", "a b"}) {
    EXPECT_EQ(
        problems_of("", {key + "=1"}),
        "command line: " + key + "=1: wants a dotted key such as model.layers before the '='");
  }
  EXPECT_EQ(problems_of("", {"items[0].path=x"}),
            "command line: items[0].path=x: elements cannot be set one by one, give the whole "
            "list: items=[...]");
  EXPECT_EQ(problems_of("", {"inner.betas=[1"}),
            "command line: inner.betas=[1: malformed YAML: end of sequence flow not found");
  EXPECT_EQ(problems_of("", {"base=x.yaml"}),
            "command line: base=x.yaml: a file names its base; here give the files themselves, the "
            "base first");
}

TEST(Problems, UnreadableFiles) {
  ConfigSource source;
  source.add_file("no_such_file.yaml");
  source.add_file(std::filesystem::temp_directory_path());
  EXPECT_EQ(problems_of(source), "no_such_file.yaml: cannot be read: No such file or directory\n" +
                                     std::filesystem::temp_directory_path().string() +
                                     ": cannot be read: it is a folder");
}

// Trials C3, C4: nothing that is given as a file is waited for, or read without end.
TEST(Problems, FilesThatAreNone) {
  TemporaryFolder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  ConfigSource source;
  source.add_file("/dev/zero");
  source.add_file(fifo);  // that nobody writes to: empty
  EXPECT_EQ(problems_of(source),
            "/dev/zero: is larger than 1024 KiB, the most that a configuration may have");
}

TEST(ReadConfig, APipeIsRead) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    for (const char* text : {"count: 5", "\nrate: 2\n"}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_GT(write(ends[1], text, strlen(text)), 0);
    }
    close(ends[1]);
  });
  ConfigSource source;
  source.add_file("/dev/fd/" + std::to_string(ends[0]));
  writer.join();
  close(ends[0]);
  ConfigProblems problems;
  const auto config = read_config<Outer>(source, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(config.count, 5);
  EXPECT_EQ(config.rate, 2);
}

TEST(Problems, AllAreToldAtOnce) {
  EXPECT_EQ(problems_of("count: x\ninner:\n  layer: 2\n  layers: 0\n", {"rate=fast"}),
            "a.yaml:1: count: wants an integer, found x\n"
            "command line: rate=fast: rate: wants a number, found fast\n"
            "a.yaml:4: inner.layers: must lie between 1 and 64, found 0\n"
            "a.yaml:3: inner.layer: unknown key, did you mean inner.layers?");
}

TEST(Problems, OfValidatorsGetTheirPlace) {
  ConfigSource source;
  source.add_text("inner:\n  betas: [0.5, 0.6]\nitems:\n  - path: x\n  - path: y\n", "a.yaml");
  source.add_override("count=2");
  ConfigProblems problems;
  for (const char* key : {"count", "rate", "inner", "inner.layers", "inner.betas[1]",
                          "items[1].path", "items[1].weight", "items[7]"}) {
    problems.add(key, "no");
  }
  try {
    throw_if_any(problems, source);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "command line: count=2: count: no\n"
                 "default: rate: no\n"
                 "a.yaml:1: inner: no\n"
                 "default: inner.layers: no\n"
                 "a.yaml:2: inner.betas[1]: no\n"
                 "a.yaml:5: items[1].path: no\n"
                 "a.yaml:5: items[1].weight: no\n"
                 "a.yaml:3: items[7]: no");
  }
}

}  // namespace
}  // namespace dualpath
