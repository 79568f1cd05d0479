#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/text/tokenizer_files.h"
#include "data/tokens/corpus.h"
#include "launcher/commands.h"
#include "launcher/tokenize/output_folder.h"
#include "tests/expect_error.h"
#include "tests/random_text.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

const char kFixture[] = DUALPATH_SOURCE_DIR "/tests/tokenizer_fixture";

class TokenizeCommand : public testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  std::string output(const std::string& name) const {
    return fmt::format("output={}", folder_ / name);
  }
  static std::string load(const std::string& path) {
    return fmt::format("tokenizer.load={}", path);
  }

  // What the verb prints.
  static std::string tokenize(const std::vector<std::string>& words) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(tokenize_command.run(words), ExitCode::success);
    return testing::internal::GetCapturedStdout();
  }

  // What it warns of.
  static std::string warnings(const std::vector<std::string>& words) {
    testing::internal::CaptureStderr();
    tokenize(words);
    return testing::internal::GetCapturedStderr();
  }

  static std::string error(ExitCode code, const std::vector<std::string>& words) {
    return error_of(code, [&] { tokenize_command.run(words); });
  }

  // The text of the corpus' documents, each of which must end with <|endoftext|>.
  static std::vector<std::string> documents(const std::string& folder) {
    const Corpus corpus = Corpus::open(folder);
    const Tokenizer tokenizer = load_tokenizer(folder);
    EXPECT_EQ(corpus.manifest().info.tokenizer_hash, tokenizer.hash());
    EXPECT_EQ(corpus.manifest().info.vocab_size, tokenizer.vocab_size());
    std::vector<std::int32_t> tokens(corpus.num_tokens());
    corpus.read(0, tokens);
    std::vector<std::string> documents;
    std::vector<std::uint32_t> document;
    std::uint64_t bytes = 0;
    for (const std::int32_t token : tokens) {
      if (token != static_cast<std::int32_t>(tokenizer.end_of_text())) {
        document.push_back(static_cast<std::uint32_t>(token));
        continue;
      }
      documents.push_back(tokenizer.decode(document));
      bytes += documents.back().size();
      document.clear();
    }
    EXPECT_TRUE(document.empty());
    EXPECT_EQ(corpus.manifest().num_documents, documents.size());
    EXPECT_EQ(corpus.manifest().text_bytes, bytes);
    return documents;
  }

  std::vector<std::string> names_in_folder() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  // What a process does that is killed then: nothing is destroyed.
  static void as_killed(const std::function<void()>& action) {
    const pid_t child = ::fork();
    if (child == 0) {
      action();
      ::_exit(9);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  }

  TemporaryFolder folder_;
};

TEST_F(TokenizeCommand, TrainsATokenizerAndKeepsEveryDocument) {
  std::vector<std::string> texts;
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(fmt::format("the wide path, the deep path, document {} of 300\n", i));
    lines +=
        fmt::format("{{\"text\": \"{}\\n\"}}\n", texts.back().substr(0, texts.back().size() - 1));
  }
  texts.push_back(random_bytes(1, 100'000));
  const std::string printed =
      tokenize({write("a.jsonl", lines), write("b.txt", texts.back()), output("corpus/"),
                "tokenizer.vocab_size=300", "shard_tokens=2000", "threads=3"});
  EXPECT_THAT(printed, AllOf(HasSubstr("tokenizer: 300 tokens, trained"),
                             HasSubstr("/corpus: 301 documents, ")));
  EXPECT_THAT(documents(folder_ / "corpus"), ElementsAreArray(texts));
  EXPECT_GT(Corpus::open(folder_ / "corpus").shards().size(), 2u);
  EXPECT_THAT(names_in_folder(), UnorderedElementsAre("a.jsonl", "b.txt", "corpus"));
}

TEST_F(TokenizeCommand, ALoadedTokenizerIsKept) {
  tokenize({write("a.txt", "deep and wide"), output("corpus"), load(kFixture)});
  EXPECT_EQ(load_tokenizer(folder_ / "corpus").hash(), load_tokenizer(kFixture).hash());
  // A corpus is a tokenizer for the next.
  tokenize({folder_ / "a.txt", output("second"), load(folder_ / "corpus")});
  EXPECT_THAT(documents(folder_ / "second"), ElementsAre("deep and wide"));
  EXPECT_EQ(load_tokenizer(folder_ / "second").hash(), load_tokenizer(kFixture).hash());
}

TEST_F(TokenizeCommand, ThreadsChangeNothing) {
  std::string text;
  for (std::uint64_t seed = 0; text.size() < 3'000'000; ++seed) text += random_text(seed, 2000);
  write("a.txt", text);
  std::vector<std::uint64_t> checksums;
  std::vector<std::string> hashes;
  for (const char* threads : {"1", "4"}) {
    tokenize({folder_ / "a.txt", output(threads), fmt::format("threads={}", threads),
              "tokenizer.vocab_size=400", "tokenizer.train_bytes=1500000"});
    checksums.push_back(Corpus::open(folder_ / threads).manifest().shards.at(0).token_checksum);
    hashes.push_back(load_tokenizer(folder_ / threads).hash());
  }
  EXPECT_EQ(checksums[0], checksums[1]);
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_THAT(documents(folder_ / "4"), ElementsAre(text));
}

TEST_F(TokenizeCommand, HoldsOutTheEndOfTheText) {
  std::string text;
  for (int line = 0; line < 1000; ++line) text += fmt::format("line {:04}\n", line);
  // "zebra" stands in the held-out part only: the tokenizer must not have seen it.
  for (int line = 0; line < 100; ++line) text += "zebra zebra";
  tokenize(
      {write("a.txt", text), output("c"), "validation_fraction=0.1", "tokenizer.vocab_size=280"});
  const auto training = documents(folder_ / "c/train");
  const auto validation = documents(folder_ / "c/validation");
  ASSERT_EQ(training.size(), 1u);
  ASSERT_EQ(validation.size(), 1u);
  EXPECT_EQ(training[0] + validation[0], text);
  EXPECT_EQ(validation[0].size(), 1110u);  // a tenth; a line begins there
  const Tokenizer tokenizer = load_tokenizer(folder_ / "c/train");
  EXPECT_EQ(load_tokenizer(folder_ / "c/validation").hash(), tokenizer.hash());
  EXPECT_EQ(std::ranges::count(tokenizer.tokens(), "line"), 1);
  EXPECT_EQ(std::ranges::count(tokenizer.tokens(), "br"), 0);
}

TEST_F(TokenizeCommand, ReplacesACorpusOnlyIfTold) {
  tokenize({write("a.txt", "first\nand last\n"), output("c"), load(kFixture),
            "validation_fraction=0.7"});
  write("a.txt", "second");
  EXPECT_THAT(error(ExitCode::configuration, {folder_ / "a.txt", output("c"), load(kFixture)}),
              HasSubstr("overwrite=true"));
  tokenize({folder_ / "a.txt", output("c"), load(kFixture), "overwrite=true"});
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre("second"));
  EXPECT_FALSE(fs::exists(folder_ / "c/train"));
  EXPECT_THAT(names_in_folder(), UnorderedElementsAre("a.txt", "c"));
}

TEST_F(TokenizeCommand, ReplacesNothingElse) {
  write("a.txt", "text");
  fs::create_directory(folder_ / "papers");
  write("papers/thesis", "years of work");
  write("empty", "");
  for (const char* name : {"papers", "a.txt", "a.txt/", "empty", "empty/"}) {
    EXPECT_THAT(error(ExitCode::configuration, {folder_ / "a.txt", output(name), "overwrite=true"}),
                HasSubstr("is no corpus"));
  }
  EXPECT_TRUE(fs::exists(folder_ / "papers/thesis"));
  EXPECT_TRUE(fs::is_regular_file(folder_ / "empty"));
  EXPECT_TRUE(fs::is_regular_file(folder_ / "a.txt"));
}

TEST_F(TokenizeCommand, AFailureLeavesTheOldCorpusAndNothingElse) {
  std::string lines;
  for (int i = 0; i < 50'000; ++i) lines += "{\"text\": \"a rather long line of the text\"}\n";
  write("a.jsonl", lines + "{\"text\": ");
  EXPECT_THAT(error(ExitCode::data, {folder_ / "a.jsonl", output("c"), load(kFixture)}),
              HasSubstr("a.jsonl:50001: "));
  EXPECT_THAT(names_in_folder(), ElementsAre("a.jsonl"));

  tokenize({write("b.txt", "old"), output("c"), load(kFixture)});
  error(ExitCode::data, {folder_ / "a.jsonl", output("c"), load(kFixture), "overwrite=true"});
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre("old"));
  EXPECT_THAT(names_in_folder(), UnorderedElementsAre("a.jsonl", "b.txt", "c"));
}

TEST_F(TokenizeCommand, WrongInputs) {
  const std::string text = write("a.txt", "text");
  EXPECT_THAT(error(ExitCode::data, {folder_ / "none.txt", output("c")}), HasSubstr("none.txt"));
  EXPECT_THAT(error(ExitCode::data, {write("empty.txt", ""), output("c")}),
              AllOf(HasSubstr("no text"), HasSubstr("empty.txt")));
  EXPECT_THAT(error(ExitCode::data, {text, output("a.txt/c")}), HasSubstr("a.txt/c"));
  EXPECT_THAT(error(ExitCode::data, {text, output("c"), load(folder_ / "none")}),
              HasSubstr("none"));
  EXPECT_THAT(error(ExitCode::data, {text, output("c"), "validation_fraction=0.5"}),
              HasSubstr("validation_fraction=0.5"));
  EXPECT_THAT(error(ExitCode::configuration, {text}), HasSubstr("output="));
  EXPECT_THAT(error(ExitCode::configuration, {output("c")}), HasSubstr("usage"));
  EXPECT_THAT(error(ExitCode::configuration, {text, output("c"), "vocab_size=300"}),
              HasSubstr("tokenizer.vocab_size"));
  EXPECT_THAT(error(ExitCode::configuration, {text, output("c"), "tokenizer.vocab_size=256"}),
              HasSubstr("257"));
  EXPECT_THAT(error(ExitCode::configuration,
                    {text, output("c"), "tokenizer.load=x", "tokenizer.vocab_size=300"}),
              HasSubstr("trained here"));
  EXPECT_THAT(names_in_folder(), UnorderedElementsAre("a.txt", "empty.txt"));
}

// Trial C8: whoever is killed leaves his folder, the next one to the same output removes it.
TEST_F(TokenizeCommand, WhatAKilledProcessLeftIsRemoved) {
  as_killed([&] {
    const auto* output = new OutputFolder(folder_ / "c");
    std::ofstream(output->partial() / "tokens.h5") << "half";
  });
  as_killed([&] { fs::create_directory(folder_ / "c.partial-Ab12Xy"); });  // before it is locked
  const OutputFolder alive(folder_ / "c");
  std::ofstream(alive.partial() / "tokens.h5") << "half";
  fs::create_directory(folder_ / "c.partial-copy-of-mine");
  const std::string text = write("a.txt", "text of the next");
  EXPECT_THAT(warnings({text, output("c/"), load(kFixture)}),
              AllOf(HasSubstr("is removed: its process was killed"), HasSubstr(".partial-"),
                    HasSubstr("is left: another process is writing it")));
  EXPECT_THAT(names_in_folder(),
              UnorderedElementsAre("a.txt", "c", "c.partial-copy-of-mine",
                                   alive.partial().parent_path().filename().string()));
  EXPECT_TRUE(fs::exists(alive.partial() / "tokens.h5"));
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre("text of the next"));
  EXPECT_THAT(clear_leftovers("c"), IsEmpty());
}

// Trial C8, where the file system cannot exchange two names: killed between two renames.
TEST_F(TokenizeCommand, AResultThatWasBeingReplacedComesBack) {
  const std::string text = write("a.txt", "the earlier text");
  tokenize({text, output("c"), load(kFixture)});
  as_killed([&] {
    const auto* output = new OutputFolder(folder_ / "c");
    fs::rename(folder_ / "c", output->partial().parent_path() / "old");
  });
  write("a.txt", "another");
  // It needs overwrite=true again.
  testing::internal::CaptureStderr();
  EXPECT_THAT(error(ExitCode::configuration, {text, output("c"), load(kFixture)}),
              HasSubstr("overwrite=true"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("/c is restored from "));
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre("the earlier text"));
  EXPECT_THAT(names_in_folder(), UnorderedElementsAre("a.txt", "c"));
}

TEST_F(TokenizeCommand, ALinkLeadsToTheOutput) {
  fs::create_directory(folder_ / "disk");
  fs::create_directory_symlink("disk/c", folder_ / "c");
  tokenize({write("a.txt", "text"), output("c"), load(kFixture)});
  EXPECT_TRUE(fs::is_symlink(folder_ / "c"));
  EXPECT_THAT(documents(folder_ / "disk/c"), ElementsAre("text"));
}

// A corpus' folder may hold more than the corpus.
TEST_F(TokenizeCommand, OverwritingRemovesNothingButACorpus) {
  const std::string text = write("a.txt", "text");
  for (const char* fraction : {"validation_fraction=0", "validation_fraction=0.5"}) {
    write("a.txt", "text\nand more\nand more\n");
    tokenize({text, output("c"), load(kFixture), fraction});
    for (const char* file : {"c/notes.md", "c/train/notes.md"}) {
      if (!fs::exists(fs::path(folder_ / file).parent_path())) continue;
      write(file, "years of work");
      EXPECT_THAT(
          error(ExitCode::configuration, {text, output("c"), load(kFixture), "overwrite=true"}),
          AllOf(HasSubstr(file), HasSubstr("no part of a corpus")));
      fs::remove(folder_ / file);
    }
    fs::remove_all(folder_ / "c");
  }
  tokenize({text, output("c"), load(kFixture)});
  const std::string inside = write("c/input.json", "text");
  EXPECT_THAT(
      error(ExitCode::configuration, {inside, output("c"), load(kFixture), "overwrite=true"}),
      HasSubstr("holds the input"));
  EXPECT_TRUE(fs::exists(inside));
}

// "<|endoftext|>" between the documents of a file was one document without a word.
TEST_F(TokenizeCommand, TellsOfSpecialTokensInTheText) {
  const std::string text = write("a.txt", "one<|endoftext|>\ntwo<|endoftext|>");
  EXPECT_THAT(warnings({text, output("c"), load(kFixture)}),
              AllOf(HasSubstr("the text spells <|endoftext|> 2 times;"),
                    HasSubstr("document_separator='<|endoftext|>' ends one there")));
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre("one<|endoftext|>\ntwo<|endoftext|>"));
  EXPECT_THAT(warnings({text, output("d"), load(kFixture), "document_separator=<|endoftext|>"}),
              Not(HasSubstr("spells")));
  EXPECT_THAT(documents(folder_ / "d"), ElementsAre("one", "two"));
  const std::string line = write("a.jsonl", "{\"text\": \"<|endoftext|>\"}");
  EXPECT_THAT(warnings({line, output("e"), load(kFixture)}),
              AllOf(HasSubstr("<|endoftext|> 1 time;"), Not(HasSubstr("document_separator"))));
}

TEST_F(TokenizeCommand, OptionsWithoutEffectAreRefused) {
  const std::string text = write("a.txt", "one"), line = write("a.jsonl", "{\"text\": \"one\"}");
  EXPECT_THAT(error(ExitCode::configuration, {text, output("c"), "text_field=body"}),
              HasSubstr("text_field=body is for JSON lines"));
  EXPECT_THAT(error(ExitCode::configuration, {line, output("c"), "document_separator=x"}),
              HasSubstr("document_separator=x is for text"));
  EXPECT_THAT(warnings({text, output("c"), load(kFixture), "document_separator=x"}),
              HasSubstr("document_separator=x is nowhere in the text"));
}

TEST_F(TokenizeCommand, TellsOfJsonThatIsReadAsText) {
  EXPECT_THAT(warnings({write("a.json", "[]"), output("c"), load(kFixture)}),
              HasSubstr("files of JSON are read as one text each"));
}

TEST_F(TokenizeCommand, TellsOfZeros) {
  const std::string text = write("a.txt", std::string("a\0b", 3));
  EXPECT_THAT(
      warnings({text, write("b.txt", "b"), output("c"), load(kFixture)}),
      AllOf(HasSubstr("files with bytes 0"), HasSubstr("1 in all, as "), HasSubstr("a.txt")));
  EXPECT_THAT(documents(folder_ / "c"), ElementsAre(std::string("a\0b", 3), "b"));
}

// "tokenised in 0.0 s" tells nothing.
TEST_F(TokenizeCommand, TellsTimeWithDigitsThatMeanSomething) {
  EXPECT_THAT(tokenize({write("a.txt", "one two"), output("c"), load(kFixture), "threads=1"}),
              AllOf(HasSubstr("1 documents, 7 bytes"), HasSubstr("tokenised 7 bytes in "),
                    HasSubstr(" on 1 thread\n"), Not(HasSubstr(" in 0"))));
}

}  // namespace
}  // namespace dualpath
