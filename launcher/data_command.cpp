// dualpath data: what corpora and token shards hold, and whether it is intact.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>

#include "data/files/file_io.h"
#include "data/tokens/corpus.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/text_format.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath data info|verify PATH...";

std::string data_help() {
  return fmt::format(
      R"(Tells what token shards hold, or checks them.

usage: {}

PATH is a corpus (a folder with corpus.yaml, as `dualpath tokenize` writes it) or one shard (*.h5).

  info    one line a path: tokens, documents, size, vocabulary, shards, tokenizer
  verify  reads everything, the tokenizer too, and recomputes all checksums; names every damaged
          file and what is wrong with it; exit code 3 if there is one
)",
      usage);
}

bool is_corpus(const std::string& path) {
  return is_folder(path, ExitCode::data);
}

using Row = std::vector<std::string>;

Row info_row(const std::string& path) {
  const auto row = [&](std::uint64_t tokens, std::uint64_t documents, std::uint64_t bytes,
                       std::uint64_t vocab_size, std::size_t shards, const std::string& tokenizer) {
    return Row{path,
               grouped(tokens),
               grouped(documents),
               fmt::format("{:.2f}", static_cast<double>(bytes) / (1 << 20)),
               grouped(vocab_size),
               grouped(shards),
               tokenizer};
  };
  if (!is_corpus(path)) {
    const TokenShard shard = TokenShard::open(path);
    const TokenShardInfo& info = shard.info();
    return row(info.num_tokens, info.num_documents, shard.file_bytes(), info.vocab_size, 1,
               info.tokenizer_hash);
  }
  const Corpus corpus = Corpus::open(path);
  const CorpusManifest& manifest = corpus.manifest();
  std::uint64_t bytes = 0;
  for (const CorpusManifest::Shard& shard : manifest.shards) bytes += shard.bytes;
  return row(manifest.num_tokens, manifest.num_documents, bytes, manifest.info.vocab_size,
             manifest.shards.size(), manifest.info.tokenizer_hash);
}

// The rows in columns: the first and the last to the left, numbers to the right.
std::string table(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  const auto out = std::back_inserter(text);
  for (const Row& row : rows) {
    fmt::format_to(out, "{:<{}}", row.front(), widths.front());
    for (std::size_t c = 1; c + 1 < row.size(); ++c) {
      fmt::format_to(out, "  {:>{}}", row[c], widths[c]);
    }
    fmt::format_to(out, "  {}\n", row.back());
  }
  return text;
}

void print_info(std::span<const std::string> paths) {
  std::vector<Row> rows = {{"path", "tokens", "documents", "MiB", "vocab", "shards", "tokenizer"}};
  for (const std::string& path : paths) rows.push_back(info_row(path));
  fmt::print("{}", table(rows));
}

// Runs the check; what it finds wrong goes to problems.
template <class Check>
void gather(std::vector<std::string>& problems, const Check& check) {
  try {
    check();
  } catch (const Error& error) {
    if (error.code() != ExitCode::data) throw;
    problems.emplace_back(error.what());
  }
}

void verify_path(const std::string& path, std::vector<std::string>& problems) {
  std::uint64_t tokens = 0;
  const auto verify = [&](const TokenShard& shard) {
    shard.verify();
    tokens += shard.info().num_tokens;
  };
  const std::size_t before = problems.size();
  gather(problems, [&] {
    if (!is_corpus(path)) return verify(TokenShard::open(path));
    const CorpusManifest manifest = read_corpus_manifest(path);
    for (const CorpusManifest::File& file : manifest.files)
      gather(problems, [&] { verify_listed_file(path, file); });
    for (std::size_t i = 0; i < manifest.shards.size(); ++i)
      gather(problems, [&] { verify(open_listed_shard(path, manifest, i)); });
  });
  const std::size_t found = problems.size() - before;
  fmt::print("{}: {} tokens verified{}\n", path, grouped(tokens),
             found == 0 ? ", all well" : fmt::format(", {} problems", found));
  std::fflush(stdout);
}

void verify(std::span<const std::string> paths) {
  std::vector<std::string> problems;
  for (const std::string& path : paths) verify_path(path, problems);
  CHECK_AS(ExitCode::data, problems.empty(), "{}", fmt::join(problems, "\n"));
}

ExitCode run_data(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 2, words.size());
  CHECK_AS(ExitCode::configuration, arguments.overrides.empty(),
           "{}: the verb has no options\nusage: {}", arguments.overrides.front(), usage);
  const std::string& action = arguments.positional.front();
  const auto paths = std::span(arguments.positional).subspan(1);
  if (action == "info") {
    print_info(paths);
  } else if (action == "verify") {
    verify(paths);
  } else {
    DUALPATH_FAIL(ExitCode::configuration, "{} is neither info nor verify\nusage: {}", action,
                  usage);
  }
  return ExitCode::success;
}

}  // namespace

const Command data_command = {
    .name = "data",
    .summary = "what corpora and token shards hold, and whether it is intact",
    .help = data_help,
    .run = run_data,
};

}  // namespace dualpath
