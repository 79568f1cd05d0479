// dualpath generate: text from a run's checkpoint.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>

#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/text_format.h"
#include "launcher/evaluate/intervention.h"
#include "launcher/evaluate/load_model.h"
#include "launcher/evaluate/sampling.h"
#include "launcher/job/device_choice.h"
#include "launcher/job/job.h"
#include "model/decoder.h"

namespace dualpath {

namespace {

constexpr const char* usage =
    "dualpath generate RUN|CHECKPOINT [prompt=TEXT...] [prompts=FILE...] [key=value...]";

struct GenerateConfig {
  bool special_tokens = false;
  std::int64_t tokens = 200;
  SamplingConfig sampling;
  InterventionConfig intervene;
  std::int64_t step = 0;
  DeviceChoice device = DeviceChoice::automatic;
  std::int64_t threads = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, GenerateConfig& c) {
  visit.field("special_tokens", c.special_tokens,
              {.help = "special tokens that a prompt spells, as <|endoftext|>, are those tokens, "
                       "not text"});
  visit.field("tokens", c.tokens,
              {.help = "how many tokens to add to a prompt",
               .unit = "tokens",
               .min = 1,
               .max = 1e9,
               .synonyms = "max_new_tokens max_tokens num_tokens length"});
  visit_fields(visit, c.sampling);
  visit.section("intervene", c.intervene, "what the model's gates and iterations are changed to");
  visit.field("step", c.step,
              {.help = "the checkpoint; 0: the newest whole one", .min = 0, .max = bounds::steps});
  visit.field("device", c.device, {.help = "what computes; auto: a GPU where there is one"});
  visit.field("threads", c.threads,
              {.help = "CPU threads; 0: all cores", .min = 0, .max = bounds::threads});
}

std::string help() {
  return fmt::format(
      R"(usage: {}

Continues prompts with the model of a run folder or of one checkpoint in it. Each text is printed while it is made, with a line "---"
between two of them; the speed is told at the end, on standard error. A text ends early where the
model ends its document.

  prompt=TEXT    a text to continue, taken as it is; without any prompt: the start of a document
  prompts=FILE   each line of the file is a prompt; - is standard input
Both may be given several times.

The model computes in fp32, whatever precision it was trained in.

The model reads each token once and keeps its keys and values. When a text has grown to
model.sequence_length tokens, the model reads the last half of them again, as a new sequence. So it
always sees at least the last sequence_length/2 tokens, and no position that it was not trained on.
Longer prompts are treated alike.

fields:
{})",
      usage, config_help<GenerateConfig>());
}

constexpr std::string_view text_key = "prompt=", file_key = "prompts=";

// Takes prompt= and prompts= out of the overrides: what follows is not YAML.
std::vector<std::string> take_prompt_words(std::vector<std::string>& overrides) {
  const auto begin =
      std::stable_partition(overrides.begin(), overrides.end(), [](const std::string& word) {
        return !word.starts_with(text_key) && !word.starts_with(file_key);
      });
  std::vector<std::string> words(begin, overrides.end());
  overrides.erase(begin, overrides.end());
  return words;
}

// One prompt a line.
void read_prompt_file(const std::string& path, std::vector<std::string>& prompts) {
  std::ifstream file;
  if (path != "-") file.open(path);
  std::istream& lines = path == "-" ? std::cin : file;
  const std::size_t before = prompts.size();
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    prompts.push_back(line);
  }
  CHECK_AS(ExitCode::data, lines.eof() && prompts.size() > before, "{}: {}",
           path == "-" ? "standard input" : path,
           lines.eof() ? "no line, hence no prompt" : "cannot be read");
}

std::vector<std::string> read_prompts(const std::vector<std::string>& words) {
  std::vector<std::string> prompts;
  for (const std::string& word : words) {
    if (word.starts_with(text_key)) {
      prompts.push_back(word.substr(text_key.size()));
    } else {
      read_prompt_file(word.substr(file_key.size()), prompts);
    }
  }
  if (prompts.empty()) prompts.emplace_back();
  return prompts;
}

// Prints tokens as text as soon as their bytes are whole UTF-8 characters.
class TextPrinter {
 public:
  explicit TextPrinter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void print(std::int32_t token) {
    const auto id = static_cast<std::uint32_t>(token);
    pending_ += tokenizer_.decode(std::span(&id, 1));
    write(whole_characters(pending_));
  }
  // What is left of the text, and the end of its line.
  void end_text() { print_line(""); }
  void print_line(std::string_view line) {
    pending_.append(line) += '\n';
    write(pending_.size());
  }

 private:
  void write(std::size_t bytes) {
    const std::size_t written = std::fwrite(pending_.data(), 1, bytes, stdout);
    CHECK_AS(ExitCode::data, written == bytes && std::fflush(stdout) == 0,
             "standard output cannot be written: {}", std::strerror(errno));
    pending_.erase(0, bytes);
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
};

using Clock = std::chrono::steady_clock;

struct Pace {
  std::size_t tokens = 0;
  std::chrono::duration<double> time{};

  void add(std::size_t more_tokens, Clock::duration more_time) {
    tokens += more_tokens;
    time += more_time;
  }
  std::string str() const {
    return fmt::format("{} tokens in {:.2f} s ({:.1f} tokens/s)", grouped(tokens), time.count(),
                       static_cast<double>(tokens) / time.count());
  }
};

// Prints texts, one after another, and measures how fast.
class Writer {
 public:
  // window: how many tokens of a text the model sees at most.
  Writer(Model& model, std::int64_t window, const Tokenizer& tokenizer)
      : vocab_size_(tokenizer.vocab_size()), decoder_(model, window), printer_(tokenizer) {}

  // Prints a prompt and what the sampler draws to go on from it, at most `tokens` tokens.
  // ids: the token that ends a document, then those of the prompt.
  void write(std::span<const std::int32_t> ids, std::int64_t tokens, Sampler sampler) {
    const Clock::time_point start = Clock::now();
    for (const std::int32_t token : ids.subspan(1)) printer_.print(token);
    decoder_.restart();
    Tensor logits = decoder_.append(ids);
    const Clock::time_point read = Clock::now();
    reading_.add(ids.size(), read - start);
    std::int32_t token = 0;  // the model may read it as late as it gives the next logits
    for (std::int64_t i = 0; i < tokens; ++i) {
      token = sampler.pick({logits.as<float>(), vocab_size_});
      if (token == ids[0]) break;
      printer_.print(token);
      ++writing_.tokens;
      if (i + 1 < tokens) logits = decoder_.append({&token, 1});
    }
    printer_.end_text();
    writing_.time += Clock::now() - read;
  }
  void write_separator() { printer_.print_line("---"); }

  std::string pace() const {
    return fmt::format("prompts: {}; generated: {}", reading_.str(), writing_.str());
  }

 private:
  std::size_t vocab_size_;
  Decoder decoder_;
  TextPrinter printer_;
  Pace reading_, writing_;
};

// The tokens of each prompt behind the one that ends a document: a text begins after it.
std::vector<std::vector<std::int32_t>> encode(const std::vector<std::string>& prompts,
                                              const Tokenizer& tokenizer, SpecialTokens special) {
  std::vector<std::vector<std::int32_t>> texts;
  for (const std::string& prompt : prompts) {
    std::vector<std::uint32_t> ids = {tokenizer.end_of_text()};
    tokenizer.encode(prompt, ids, special);
    texts.emplace_back(ids.begin(), ids.end());
  }
  return texts;
}

// No more memory than the longest text needs.
std::int64_t window_of(const std::vector<std::vector<std::int32_t>>& texts, std::int64_t tokens,
                       const ModelConfig& model) {
  std::int64_t longest = 0;
  for (const auto& ids : texts) longest = std::max(longest, std::ssize(ids));
  return std::min(model.sequence_length, longest + std::min(tokens, model.sequence_length));
}

ExitCode run(std::span<const std::string> words) {
  Arguments arguments = split_arguments(words, usage, 1, 1);
  const std::vector<std::string> prompt_words = take_prompt_words(arguments.overrides);
  const auto options = read_options<GenerateConfig>(arguments.overrides);
  const ModelPlace place = find_model(arguments.positional[0], options.step);
  const std::vector<std::string> prompts = read_prompts(prompt_words);

  const auto device = make_device(options.device, Job::num_threads(options.threads, 1), 0);
  const auto stream = device->make_stream();
  const InterventionConfig& intervene = options.intervene;
  const GatePair gates = constant_gates(intervene);
  const auto inference = [&](const ModelConfig& config) {
    check_intervention(intervene, config);
    return ModelOptions{.forced_iterations = intervene.iterations, .training = false};
  };
  const auto [checkpoint, model] = load_model(place, inference, *device, *stream);
  const Tokenizer tokenizer = load_tokenizer_of(place, checkpoint);
  const auto texts =
      encode(prompts, tokenizer,
             options.special_tokens ? SpecialTokens::recognized : SpecialTokens::as_text);
  std::optional<ConstantGates> forced;
  if (intervene.changes_gates()) {
    forced.emplace(gates.deep, gates.wide, model->config().sequence_length, *device, *stream);
    model->force_gates(&forced->forcing());
  }
  Writer writer(*model, window_of(texts, options.tokens, model->config()), tokenizer);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) writer.write_separator();
    writer.write(texts[i], options.tokens, Sampler(options.sampling, tokenizer.vocab_size(), i));
  }
  fmt::print(stderr, "{}\n", writer.pace());
  return ExitCode::success;
}

}  // namespace

const Command generate_command = {"generate", "text from a checkpoint", help, run};

}  // namespace dualpath
