// dualpath generate: text from a run's checkpoint.
#include <cmath>
#include <cstdio>

#include "core/cpu/cpu_device.h"
#include "core/random.h"
#include "data/checkpoint_folder.h"
#include "data/tokenizer_files.h"
#include "launcher/arguments.h"
#include "launcher/commands.h"
#include "launcher/job.h"
#include "launcher/run_config.h"
#include "launcher/sampling.h"
#include "launcher/trainer.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath generate RUN_FOLDER [key=value...]";

struct GenerateConfig {
  std::string prompt;
  bool special_tokens = false;
  std::int64_t tokens = 200;
  SamplingConfig sampling;
  std::int64_t step = 0;
  std::int64_t threads = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, GenerateConfig& c) {
  visit.field("prompt", c.prompt, {.help = "text to go on from; empty: the start of a document"});
  visit.field("special_tokens", c.special_tokens,
              {.help = "special tokens that the prompt spells, as <|endoftext|>, are those tokens, "
                       "not text"});
  visit.field("tokens", c.tokens, {.help = "how many tokens to add", .unit = "tokens", .min = 1});
  visit_fields(visit, c.sampling);
  visit.field("step", c.step, {.help = "the checkpoint; 0: the newest whole one", .min = 0});
  visit.field("threads", c.threads, {.help = "CPU threads; 0: all cores", .min = 0});
}

std::string help() {
  return fmt::format(
      "usage: {}\n\nPrints the prompt and what the run's model makes of it, as it is made. Ends "
      "early "
      "at the end of a\ndocument. The model sees the last sequence_length tokens.\n\nfields:\n{}",
      usage, config_help<GenerateConfig>());
}

Checkpoint choose_checkpoint(const std::filesystem::path& run, std::int64_t step,
                             Communicator& self) {
  const auto folder = run / "checkpoints";
  if (step != 0) {
    const auto chosen = folder / checkpoint_name(step);
    for (const std::string& problem : verify_checkpoint(chosen, self)) {
      DUALPATH_FAIL(ExitCode::checkpoint, "{}", problem);
    }
    return open_checkpoint(chosen);
  }
  const auto warn = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  std::optional<Checkpoint> newest = newest_whole(folder, warn, self);
  CHECK_AS(ExitCode::checkpoint, newest.has_value(), "{} has no checkpoint", run.string());
  return *std::move(newest);
}

// Prints tokens as text as soon as their bytes are whole UTF-8 characters.
class TextPrinter {
 public:
  explicit TextPrinter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void print(std::uint32_t token) {
    pending_ += tokenizer_.decode(std::span(&token, 1));
    const std::size_t whole = whole_characters(pending_);
    std::fwrite(pending_.data(), 1, whole, stdout);
    std::fflush(stdout);
    pending_.erase(0, whole);
  }
  ~TextPrinter() {
    std::fwrite(pending_.data(), 1, pending_.size(), stdout);
    std::fputc('\n', stdout);
  }

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 1, 1);
  const auto options = read_options<GenerateConfig>(arguments.overrides);
  const std::filesystem::path folder = arguments.positional[0];
  CHECK_AS(ExitCode::checkpoint, std::filesystem::is_directory(folder), "no run folder {}",
           folder.string());

  const auto self = make_self_communicator();
  const Checkpoint checkpoint = choose_checkpoint(folder, options.step, *self);
  const Tokenizer tokenizer = load_tokenizer(folder / "tokenizer");
  CHECK_AS(ExitCode::data, tokenizer.hash() == checkpoint.manifest.tokenizer_hash,
           "{} was trained with tokenizer {}, but {} is {}", checkpoint.folder.string(),
           checkpoint.manifest.tokenizer_hash, (folder / "tokenizer").string(), tokenizer.hash());

  const auto device = make_cpu_device(Job::num_threads(options.threads, 1));
  const auto stream = device->make_stream();
  Model model(parse_model(checkpoint.manifest.model), {.training = false}, *device, *stream);
  load_slices(checkpoint, weights_of(model.parameters()));

  std::vector<std::uint32_t> prompt;
  tokenizer.encode(options.prompt, prompt,
                   options.special_tokens ? SpecialTokens::recognized : SpecialTokens::as_text);
  std::vector<std::int32_t> ids = {static_cast<std::int32_t>(tokenizer.end_of_text())};
  ids.insert(ids.end(), prompt.begin(), prompt.end());

  TextPrinter printer(tokenizer);
  for (std::uint32_t token : prompt) printer.print(token);
  Sampler sampler(options.sampling, tokenizer.vocab_size());
  const auto context = static_cast<std::size_t>(model.config().sequence_length);
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const auto window = std::span<const std::int32_t>(ids).last(std::min(ids.size(), context));
    const Tensor logits = model.logits(window, true);
    const std::int32_t token = sampler.pick({logits.as<float>(), tokenizer.vocab_size()});
    if (token == static_cast<std::int32_t>(tokenizer.end_of_text())) break;
    ids.push_back(token);
    printer.print(static_cast<std::uint32_t>(token));
  }
  return ExitCode::success;
}

}  // namespace

const Command generate_command = {"generate", "text from a checkpoint", help, run};

}  // namespace dualpath
