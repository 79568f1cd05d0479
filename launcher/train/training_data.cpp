#include "launcher/train/training_data.h"

#include <limits>
#include <sstream>
#include <utility>

#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

// Embedding and head are padded to this many rows, whatever the layout.
constexpr std::int64_t vocab_padding = 128;

std::vector<WeightedCorpus> open_corpora(const std::vector<CorpusConfig>& configs) {
  std::vector<WeightedCorpus> corpora;
  for (const CorpusConfig& c : configs) corpora.push_back({Corpus::open(c.path), c.weight});
  return corpora;
}

void settle_vocab_size(ModelConfig& model, std::uint64_t tokens, const std::string& corpus) {
  const auto needed = static_cast<std::int64_t>(tokens);
  if (model.vocab_size == 0) {
    model.vocab_size = (needed + vocab_padding - 1) / vocab_padding * vocab_padding;
  }
  CHECK_AS(
      ExitCode::configuration, model.vocab_size >= needed,
      "model.vocab_size = {} is smaller than the {} tokens of {}'s tokenizer; give at least that, "
      "or 0 for the next multiple of {}",
      model.vocab_size, needed, corpus, vocab_padding);
}

std::string content_line(const Corpus& corpus) {
  const CorpusContent& content = corpus.content();
  return fmt::format("{}: {} tokens in {} shards, tokenizer {}, checksums {:016x} {:016x}\n",
                     corpus.folder(), content.num_tokens, content.num_shards,
                     corpus.manifest().info.tokenizer_hash, content.digest,
                     content.last_shard_checksum);
}

void check_same_tokenizer(const Corpus& corpus, const std::string& hash) {
  CHECK_AS(ExitCode::data, corpus.manifest().info.tokenizer_hash == hash,
           "{} was made with tokenizer {}, the training corpora with {}", corpus.folder(),
           corpus.manifest().info.tokenizer_hash, hash);
}

// The first line in which two texts of as many lines differ, of each.
std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  std::istringstream lines_a(a), lines_b(b);
  std::pair<std::string, std::string> lines;
  do {
    std::getline(lines_a, lines.first);
    std::getline(lines_b, lines.second);
  } while (lines.first == lines.second && (lines_a || lines_b));
  return lines;
}

// All ranks read the same tokens, wherever each finds them. Collective.
void check_same_data(const TrainingData& data, Communicator& ranks) {
  const std::vector<std::string> contents = ranks.all_gather(data.describe_content());
  for (std::size_t rank = 1; rank < contents.size(); ++rank) {
    const auto [first, other] = first_difference(contents[0], contents[rank]);
    CHECK_AS(ExitCode::data, contents[rank] == contents[0],
             "the ranks see different corpora: rank 0 {}, rank {} {}", first, rank, other);
  }
}

}  // namespace

std::vector<std::uint32_t> TrainingData::bytes_of_token() const {
  std::vector<std::uint32_t> bytes;
  if (!tokenizer) return bytes;
  for (std::uint32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    // The end of a document is a token, but no text.
    const bool is_text = id != tokenizer->end_of_text();
    bytes.push_back(is_text ? static_cast<std::uint32_t>(tokenizer->tokens()[id].size()) : 0);
  }
  return bytes;
}

void TrainingData::resume(const CheckpointManifest& checkpoint, const std::string& name,
                          const DataConfig& config,
                          const std::function<void(const std::string&)>& report) {
  CHECK_AS(ExitCode::data, checkpoint.tokenizer_hash == tokenizer_hash,
           "{} was trained with tokenizer {}, the corpora have {}", name, checkpoint.tokenizer_hash,
           tokenizer_hash);
  if (stream == nullptr) return;
  DataState state = parse_data_state(checkpoint.data_state, "checkpoint");
  CHECK_AS(ExitCode::checkpoint,
           state.consumed_samples == static_cast<std::uint64_t>(checkpoint.consumed_samples),
           "the checkpoint's data stand after {} samples, its weights after {}",
           state.consumed_samples, checkpoint.consumed_samples);
  if (state.seed != stream->state_at(0).seed)
    report(fmt::format("samples go on in the order of train.seed {}, with which the run began",
                       state.seed));
  stream->resume(std::move(state), config.replaced, report);
}

std::string TrainingData::state_at(std::int64_t consumed_samples) const {
  if (stream == nullptr) return "";
  return print_data_state(stream->state_at(static_cast<std::uint64_t>(consumed_samples)));
}

std::string TrainingData::describe_content() const {
  std::string text;
  if (stream != nullptr) {
    for (const auto& [corpus, weight] : stream->corpora()) text += content_line(corpus);
  }
  for (const ValidationCorpus& corpus : validation) text += corpus.content;
  return text;
}

std::optional<Tokenizer> find_tokenizer(const std::filesystem::path& corpus_folder) {
  const auto whole = absolute_path(corpus_folder, ExitCode::data).lexically_normal();
  // A trailing slash is an empty last component.
  const auto folder = whole.has_filename() ? whole : whole.parent_path();
  for (const auto& place : {folder, folder.parent_path()}) {
    if (has_tokenizer(place)) return load_tokenizer(place);
  }
  return std::nullopt;
}

bool corpora_are_here(const RunConfig& config) {
  const DataConfig& data = config.data;
  return !data.mock && !data.corpora.empty() &&
         path_exists(data.corpora.front().path, ExitCode::data);
}

TrainingData open_training_data(RunConfig& config) {
  TrainingData data;
  const auto seed = static_cast<std::uint64_t>(config.train.seed);
  const std::int64_t length = config.model.sequence_length;
  if (config.data.mock) {
    const auto vocab_size = static_cast<std::uint64_t>(config.model.vocab_size);
    data.training = std::make_unique<MockTokens>(seed, vocab_size, length);
    // The same for all seeds.
    data.validation.push_back(
        {std::make_unique<MockTokens>(0, vocab_size, length, "held-out mock tokens"),
         std::numeric_limits<std::int64_t>::max(), 1.0});
    return data;
  }
  auto stream = std::make_unique<TokenStream>(open_corpora(config.data.corpora), seed, length);
  const Corpus& first = stream->corpora().front().corpus;
  data.tokenizer_hash = first.manifest().info.tokenizer_hash;
  settle_vocab_size(config.model, stream->vocab_size(), first.folder());
  data.tokenizer = find_tokenizer(first.folder());
  if (data.tokenizer) {
    CHECK_AS(ExitCode::data, data.tokenizer->hash() == data.tokenizer_hash,
             "{} was made with tokenizer {}, but the tokenizer beside it is {}", first.folder(),
             data.tokenizer_hash, data.tokenizer->hash());
  }
  for (const CorpusConfig& c : config.data.validation) {
    Corpus corpus = Corpus::open(c.path);
    check_same_tokenizer(corpus, data.tokenizer_hash);
    std::string content = content_line(corpus);
    auto samples = std::make_unique<SequentialSamples>(std::move(corpus), length);
    const auto num_samples = static_cast<std::int64_t>(samples->num_samples());
    data.validation.push_back({std::move(samples), num_samples, c.weight, std::move(content)});
  }
  data.stream = stream.get();
  data.training = std::move(stream);
  return data;
}

TrainingData open_training_data(RunConfig& config, Communicator& ranks) {
  if (ranks.size() == 1) return open_training_data(config);
  TrainingData data;
  run_together(ranks, "opening the corpora", [&] {
    data = open_training_data(config);
    return std::string();
  });
  run_alike([&] { check_same_data(data, ranks); });
  return data;
}

}  // namespace dualpath
