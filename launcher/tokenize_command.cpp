// dualpath tokenize: text files to a corpus of token shards.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "core/host_cores.h"
#include "data/bpe_trainer.h"
#include "data/corpus.h"
#include "data/tokenizer_files.h"
#include "launcher/arguments.h"
#include "launcher/commands.h"
#include "launcher/output_folder.h"
#include "launcher/stop_request.h"
#include "launcher/text_format.h"
#include "launcher/tokenize_text.h"

namespace dualpath {

namespace fs = std::filesystem;

struct TokenizerOptions {
  std::string load;
  std::string end_of_text;
  SplitRule split = SplitRule::gpt2;
  std::int64_t vocab_size = 4096;
  std::int64_t train_bytes = 256 << 20;
  bool operator==(const TokenizerOptions&) const = default;
};

struct TokenizeOptions {
  std::string output;
  TokenizerOptions tokenizer;
  std::string text_field = "text";
  double validation_fraction = 0;
  std::int64_t shard_tokens = 1 << 28;
  std::int64_t threads = 0;
  bool overwrite = false;
};

template <class Visitor>
void visit_fields(Visitor& visit, TokenizerOptions& c) {
  visit.field("load", c.load,
              {.help = "tokenizer.json, or vocab.json with merges.txt beside it, or a folder of "
                       "either (any corpus is one); empty: a tokenizer is trained"});
  visit.field("end_of_text", c.end_of_text,
              {.help = "special token of a loaded tokenizer that ends a document; empty: eos_token "
                       "of tokenizer_config.json, else <|endoftext|>, <|end_of_text|> or the only "
                       "one"});
  visit.field("split", c.split,
              {.help = "how text falls into words for a tokenizer trained here: as for GPT-2, "
                       "Llama 3 (numbers in threes) or Qwen 2 (single digits)"});
  visit.field("vocab_size", c.vocab_size,
              {.help = "size of the tokenizer trained here, 256 bytes and <|endoftext|> included",
               .unit = "tokens",
               .min = min_vocab_size,
               .max = bounds::vocabulary});
  visit.field("train_bytes", c.train_bytes,
              {.help = "text that it is trained on, from the beginning of the input",
               .unit = "bytes",
               .min = 1,
               .max = bounds::tokens});
}

template <class Visitor>
void visit_fields(Visitor& visit, TokenizeOptions& c) {
  visit.field("output", c.output, {.help = "folder of the corpus; must be given"});
  visit.section("tokenizer", c.tokenizer, "the tokenizer, loaded or trained");
  visit.field("text_field", c.text_field, {.help = "field of the JSON lines that holds the text"});
  visit.field("validation_fraction", c.validation_fraction,
              {.help = "share of the text, at its end, that goes to OUTPUT/validation, the rest to "
                       "OUTPUT/train; 0: all to OUTPUT",
               .min = 0,
               .max = 0.9});
  visit.field(
      "shard_tokens", c.shard_tokens,
      {.help = "size at which a new shard begins", .unit = "tokens", .min = 1, .max = 1e12});
  visit.field("threads", c.threads,
              {.help = "threads that encode; 0: one a core",
               .min = 0,
               .max = bounds::threads,
               .synonyms = "workers num_workers num_threads num_proc"});
  visit.field("overwrite", c.overwrite, {.help = "replace the corpus that OUTPUT holds"});
}

namespace {

constexpr const char* train_part = "train";
constexpr const char* validation_part = "validation";
constexpr const char* usage = "dualpath tokenize INPUT... output=DIR [key=value...]";

std::string tokenize_help() {
  return fmt::format(
      "Turns text into token shards for training.\n\n"
      "usage: {}\n\n"
      "INPUT is a file or a folder, which is searched for .txt, .text, .md, .jsonl and .dict.\n"
      "A line of *.jsonl is a document; any other file is one document. All of them may be\n"
      "compressed: .gz, .dz (gzip) or .zst. <|endoftext|>, or what the tokenizer has in its "
      "place,\n"
      "follows every document.\n\n"
      "The tokenizer is a byte-level BPE: that of a tokenizer.json of the kind of GPT-2, Llama 3 "
      "or\n"
      "Qwen 2, or one trained on the text. It is saved in the corpus. Text that spells a special\n"
      "token is encoded as text; added tokens that are not special are recognised.\n\n"
      "The output appears when it is complete, under a temporary name until then.\n\n"
      "options:\n{}",
      usage, config_help<TokenizeOptions>());
}

TokenizeOptions read_tokenize_options(std::span<const std::string> overrides) {
  TokenizeOptions options = read_options<TokenizeOptions>(overrides);
  CHECK_AS(ExitCode::configuration, !options.output.empty(), "output= is missing\nusage: {}",
           usage);
  TokenizerOptions loaded;
  loaded.load = options.tokenizer.load;
  loaded.end_of_text = options.tokenizer.end_of_text;
  CHECK_AS(ExitCode::configuration, loaded.load.empty() || options.tokenizer == loaded,
           "tokenizer.split, vocab_size and train_bytes are for a tokenizer trained here, but "
           "tokenizer.load={} is given",
           loaded.load);
  CHECK_AS(ExitCode::configuration, !loaded.load.empty() || loaded.end_of_text.empty(),
           "tokenizer.end_of_text={} is for a tokenizer that is loaded", loaded.end_of_text);
  if (options.threads == 0) options.threads = own_cores();
  return options;
}

// Refuses to replace anything but an empty folder and, if told to, a corpus.
void check_output(const std::string& output, bool overwrite) {
  std::error_code error;
  const fs::path folder = output;
  if (!fs::exists(folder, error) || fs::is_empty(folder, error)) return;
  CHECK_AS(ExitCode::configuration,
           fs::exists(corpus_manifest_path(folder), error) ||
               fs::exists(corpus_manifest_path(folder / train_part), error),
           "output={}: exists and is no corpus; choose another folder", output);
  CHECK_AS(ExitCode::configuration, overwrite,
           "output={}: holds a corpus already; overwrite=true replaces it", output);
}

Tokenizer make_tokenizer(const TokenizerOptions& options, const TextSource& source) {
  if (!options.load.empty()) return load_tokenizer(options.load, options.end_of_text);
  Tokenizer tokenizer =
      train_tokenizer(source, options.split, static_cast<std::uint32_t>(options.vocab_size),
                      static_cast<std::uint64_t>(options.train_bytes));
  if (tokenizer.vocab_size() < options.vocab_size) {
    fmt::print(stderr,
               "warning: the tokenizer has {} tokens, not {}: no pair of tokens occurs twice any "
               "more\n",
               tokenizer.vocab_size(), options.vocab_size);
  }
  return tokenizer;
}

fs::path folder_of(const fs::path& output, const std::string& part) {
  return part.empty() ? output : output / part;
}

// Writes the corpora, one a part, and returns the lines that tell what they hold.
std::string write_corpora(const TextSource& source, const Tokenizer& tokenizer,
                          const OutputFolder& output, std::span<const char* const> parts,
                          std::int64_t shard_tokens) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<CorpusWriter> writers;
  for (const char* part : parts) {
    writers.emplace_back(folder_of(output.partial(), part),
                         CorpusInfo{.tokenizer_hash = tokenizer.hash(),
                                    .vocab_size = tokenizer.vocab_size(),
                                    .end_of_document = tokenizer.end_of_text()},
                         static_cast<std::uint64_t>(shard_tokens));
  }
  write_tokens(source, tokenizer, writers.front(), writers.back());
  CHECK_AS(ExitCode::data, writers.front().num_tokens() > 0, "there is no text in {}",
           fmt::join(source.inputs, ", "));
  CHECK_AS(ExitCode::data, writers.back().num_tokens() > 0,
           "validation_fraction={}: no document and no line begins in that part of the text",
           source.held_out);

  std::string summary;
  std::uint64_t text_bytes = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const CorpusManifest manifest = writers[i].finish();
    save_tokenizer(tokenizer, folder_of(output.partial(), parts[i]));
    text_bytes += manifest.text_bytes;
    summary += fmt::format(
        "{}: {} documents, {} bytes, {} tokens, {:.3f} bytes per token\n",
        folder_of(output.name(), parts[i]).string(), grouped(manifest.num_documents),
        grouped(manifest.text_bytes), grouped(manifest.num_tokens),
        static_cast<double>(manifest.text_bytes) / static_cast<double>(manifest.num_tokens));
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return summary +
         fmt::format("tokenised in {:.1f} s, {:.1f} MB/s on {} threads\n", elapsed.count(),
                     static_cast<double>(text_bytes) / 1e6 / elapsed.count(), source.num_threads);
}

ExitCode run_tokenize(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 1, words.size());
  const TokenizeOptions options = read_tokenize_options(arguments.overrides);
  TextSource source{.inputs = arguments.positional,
                    .files = find_text_files(arguments.positional),
                    .field = options.text_field,
                    .extent = {},
                    .num_threads = static_cast<std::size_t>(options.threads)};
  check_output(options.output, options.overwrite);
  if (!source.files.passed_over.empty()) {
    fmt::print(stderr, "warning: files of other kinds are passed over, {} in all, as {}\n",
               source.files.passed_over.size(), source.files.passed_over.front());
  }

  remember_stop_signals();
  OutputFolder output(options.output);
  std::vector<const char*> parts = {""};
  if (options.validation_fraction > 0) {
    parts = {train_part, validation_part};
    source.extent = measure_text(source);
    source.held_out = options.validation_fraction;
  }
  const Tokenizer tokenizer = make_tokenizer(options.tokenizer, source);
  const std::string summary = write_corpora(source, tokenizer, output, parts, options.shard_tokens);
  output.finish();
  fmt::print("tokenizer: {} tokens, {}, {}\n{}", grouped(tokenizer.vocab_size()),
             options.tokenizer.load.empty() ? "trained on this text" : options.tokenizer.load,
             tokenizer.hash(), summary);
  return ExitCode::success;
}

}  // namespace

const Command tokenize_command = {
    .name = "tokenize",
    .summary = "text files to token shards; trains or loads a byte-level BPE",
    .help = tokenize_help,
    .run = run_tokenize,
};

}  // namespace dualpath
