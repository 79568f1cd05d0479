// dualpath tokenize: text files to a corpus of token shards.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "core/base/host_cores.h"
#include "data/files/file_io.h"
#include "data/text/bpe_trainer.h"
#include "data/text/tokenizer_files.h"
#include "data/tokens/corpus.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/stop_request.h"
#include "launcher/common/text_format.h"
#include "launcher/tokenize/output_folder.h"
#include "launcher/tokenize/tokenize_text.h"

namespace dualpath {

namespace fs = std::filesystem;

constexpr const char* default_text_field = "text";

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
  std::string text_field = default_text_field;
  std::string document_separator;
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
  visit.field("document_separator", c.document_separator,
              {.help = "text at which the other files are cut into documents, as <|endoftext|>; it "
                       "belongs to none of them, nor does a line break right behind it; empty: a "
                       "file is one document"});
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
      R"(Turns text into token shards for training.

usage: {}

INPUT is a file or a folder, which is searched for .txt, .text, .md, .jsonl and .dict. A line of
*.jsonl is a document; any other file is one document, unless document_separator= cuts it. Files may
be compressed: .gz, .dz (gzip) or .zst. <|endoftext|>, or the tokenizer's own end of a document,
follows every document. Text is taken as it is, line breaks of any kind and bytes 0 included; only a
byte order mark at the beginning of a file is dropped.

The tokenizer is a byte-level BPE: read from a tokenizer.json of GPT-2's, Llama 3's or Qwen 2's
kind, or trained on the text. It is saved in the corpus. Text that spells a special token is encoded
as text; added tokens that are not special are recognised.

The output has a temporary name until it is complete.

options:
{})",
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

// Whether the file is part of a corpus, by its name.
bool is_corpus_file(const fs::path& path) {
  constexpr std::array kinds = {".h5", ".json", ".yaml"};
  return std::ranges::find(kinds, path.extension()) != kinds.end() &&
         is_regular_file(path, ExitCode::data);
}

// What replacing a corpus would remove besides it; empty: nothing.
fs::path find_foreign_file(const fs::path& folder) {
  for (const std::string& name : names_in(folder, ExitCode::data)) {
    const fs::path path = folder / name;
    const bool is_part =
        (name == train_part || name == validation_part) && is_folder(path, ExitCode::data);
    if (!is_part && !is_corpus_file(path)) return path;
    if (!is_part) continue;
    for (const std::string& inner : names_in(path, ExitCode::data)) {
      if (!is_corpus_file(path / inner)) return path / inner;
    }
  }
  return {};
}

// Refuses to replace anything but an empty folder and, if told to, a corpus and nothing else.
void check_output(const std::string& output, bool overwrite) {
  const fs::path folder = output_path(output);
  if (!path_exists(folder, ExitCode::data)) return;
  CHECK_AS(ExitCode::configuration, is_folder(folder, ExitCode::data),
           "output={}: exists and is no corpus, but a file; choose another folder", output);
  std::error_code error;
  const bool is_here = fs::equivalent(folder, working_folder(ExitCode::data), error);
  CHECK_AS(ExitCode::data, !error, "{}: cannot be looked at: {}", folder.string(), error.message());
  CHECK_AS(ExitCode::configuration, !is_here,
           "output={}: is the working folder; choose a folder in it", output);
  if (names_in(folder, ExitCode::data).empty()) return;
  CHECK_AS(ExitCode::configuration,
           path_exists(corpus_manifest_path(folder), ExitCode::data) ||
               path_exists(corpus_manifest_path(folder / train_part), ExitCode::data),
           "output={}: exists and is no corpus; choose another folder", output);
  CHECK_AS(ExitCode::configuration, overwrite,
           "output={}: holds a corpus already; overwrite=true replaces it", output);
  const fs::path foreign = find_foreign_file(folder);
  CHECK_AS(ExitCode::configuration, foreign.empty(),
           "output={}: {} lies in it and is no part of a corpus; overwrite=true would remove it: "
           "move it, or choose another folder",
           output, foreign.string());
}

// Whatever their names are.
void check_inputs_stay(const std::string& output, const TextFiles& files) {
  const auto canonical = [](const fs::path& path) {
    std::error_code error;
    fs::path result = fs::weakly_canonical(path, error);
    CHECK_AS(ExitCode::data, !error, "{}: cannot be looked at: {}", path.string(), error.message());
    return result;
  };
  const fs::path folder = canonical(output_path(output)) / "";
  for (const fs::path& file : files.files) {
    const std::string path = canonical(file).string();
    CHECK_AS(ExitCode::configuration, !path.starts_with(folder.string()),
             "output={}: holds the input {}, which would go with what is replaced; choose another "
             "folder",
             output, file.string());
  }
}

// Options that would have no effect on these files.
void check_kinds(const TokenizeOptions& options, const TextFiles& files) {
  const auto num_json = std::ranges::count_if(files.files, is_json_lines);
  CHECK_AS(ExitCode::configuration, options.text_field == default_text_field || num_json > 0,
           "text_field={} is for JSON lines, but no input is *.jsonl, compressed or not: {}",
           options.text_field, files.files.front().string());
  CHECK_AS(ExitCode::configuration,
           options.document_separator.empty() || num_json < std::ssize(files.files),
           "document_separator={} is for text, but all inputs are JSON lines, of which each is a "
           "document",
           options.document_separator);
}

void warn_of(std::string_view what, const std::vector<std::string>& paths) {
  if (paths.empty()) return;
  fmt::print(stderr, "warning: {}, {} in all, as {}\n", what, paths.size(), paths.front());
}

void warn_of(const TextFiles& files) {
  std::vector<std::string> json;
  for (const fs::path& file : files.files) {
    const fs::path kind = without_compression(file).extension();
    if (kind == ".json" || kind == ".ndjson") json.push_back(file.string());
  }
  warn_of("files of JSON are read as one text each, *.jsonl as a document a line", json);
  warn_of("files of other kinds are passed over", files.passed_over);
  warn_of("folders that several paths lead to are read once", files.met_again);
  warn_of("symbolic links to nothing are passed over", files.dangling);
}

void warn_of(const TextFindings& findings, const TextSource& source, const Tokenizer& tokenizer) {
  warn_of("files with bytes 0, which text does not have", findings.files_with_zeros);
  if (!source.separator.empty() && findings.separators == 0) {
    fmt::print(stderr, "warning: document_separator={} is nowhere in the text\n", source.separator);
  }
  const bool all_json = std::ranges::all_of(source.files.files, is_json_lines);
  for (const auto& [name, count] : findings.special_tokens) {
    fmt::print(stderr, "warning: the text spells {} {}; it is encoded as text", name,
               plural(count, "time"));
    if (name != tokenizer.tokens()[tokenizer.end_of_text()]) {
      fmt::print(stderr, ", not as this special token\n");
    } else if (all_json) {
      fmt::print(stderr, " and ends no document; a line of its own does\n");
    } else {
      fmt::print(stderr, " and ends no document; document_separator='{}' ends one there\n", name);
    }
  }
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

// A rate only where the time is no matter of starting.
std::string speed_text(double bytes, double seconds, std::size_t threads) {
  std::string text = fmt::format("{} in {}", bytes_text(bytes), elapsed_text(seconds));
  if (seconds >= 1) text += fmt::format(", {}/s", bytes_text(bytes / seconds));
  return text + fmt::format(" on {}", plural(threads, "thread"));
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
  const TextFindings findings = write_tokens(source, tokenizer, writers.front(), writers.back());
  CHECK_AS(ExitCode::data, writers.front().num_tokens() > 0, "there is no text in {}",
           fmt::join(source.inputs, ", "));
  CHECK_AS(ExitCode::data, writers.back().num_tokens() > 0,
           "validation_fraction={}: no document and no line begins in that part of the text",
           source.held_out);

  std::string summary;
  std::uint64_t text_bytes = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const CorpusManifest manifest =
        writers[i].finish(save_tokenizer(tokenizer, folder_of(output.partial(), parts[i])));
    text_bytes += manifest.text_bytes;
    summary += fmt::format(
        "{}: {} documents, {} bytes, {} tokens, {:.3f} bytes per token\n",
        folder_of(output.name(), parts[i]).string(), grouped(manifest.num_documents),
        grouped(manifest.text_bytes), grouped(manifest.num_tokens),
        static_cast<double>(manifest.text_bytes) / static_cast<double>(manifest.num_tokens));
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  warn_of(findings, source, tokenizer);
  return summary + fmt::format("tokenised {}\n", speed_text(static_cast<double>(text_bytes),
                                                            elapsed.count(), source.num_threads));
}

// A file whose name reads as an option.
void check_no_file_is_meant(std::span<const std::string> overrides) {
  for (const std::string& word : overrides) {
    std::error_code ignored;
    CHECK_AS(ExitCode::configuration, !fs::exists(word, ignored),
             "{} is a file, but reads as an option; write ./{}", word, word);
  }
}

ExitCode run_tokenize(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  check_no_file_is_meant(arguments.overrides);
  CHECK_AS(ExitCode::configuration, !arguments.positional.empty(), "no INPUT is given\nusage: {}",
           usage);
  const TokenizeOptions options = read_tokenize_options(arguments.overrides);
  TextSource source{.inputs = arguments.positional,
                    .files = find_text_files(arguments.positional),
                    .field = options.text_field,
                    .separator = options.document_separator,
                    .extent = {},
                    .num_threads = static_cast<std::size_t>(options.threads)};
  check_kinds(options, source.files);
  for (const std::string& line : clear_leftovers(options.output)) fmt::print(stderr, "{}\n", line);
  check_output(options.output, options.overwrite);
  check_inputs_stay(options.output, source.files);
  warn_of(source.files);

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
  check_output(options.output, options.overwrite);  // another may have written it meanwhile
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
