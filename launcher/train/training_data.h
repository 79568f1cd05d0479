// What a run reads: its corpora or random tokens, held-out text, and the tokenizer of both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "data/tokens/sample_source.h"
#include "data/tokens/token_stream.h"
#include "launcher/config/run_config.h"
#include "parallel/communicator.h"

namespace dualpath {

struct ValidationCorpus {
  std::unique_ptr<SampleSource> samples;
  std::int64_t num_samples;
  double weight;
  std::string content = {};  // of the corpus, for describe_content()
};

struct TrainingData {
  std::unique_ptr<SampleSource> training;
  TokenStream* stream = nullptr;  // training, where it is one; null with data.mock
  std::vector<ValidationCorpus> validation;
  std::optional<Tokenizer> tokenizer;  // absent with data.mock, or where the corpora have none
  std::string tokenizer_hash;          // "" with data.mock

  // Length of each token's text, by id; empty without a tokenizer.
  std::vector<std::uint32_t> bytes_of_token() const;

  // Goes on where a checkpoint's text says (DataState; "" with data.mock), after so many samples.
  // What has changed of the corpora is told to `report`, a line each. Throws Error(data) as
  // resume_data(), Error(checkpoint) where the text makes no sense.
  void resume(const std::string& data_state, std::int64_t consumed_samples,
              const DataConfig& config, const std::function<void(const std::string&)>& report);
  // For a checkpoint after so many samples.
  std::string state_at(std::int64_t consumed_samples) const;
  // Each corpus's folder and what tells its content, a line each. Ranks that read the same get the
  // same text.
  std::string describe_content() const;
};

// Fills in what the corpora decide: model.vocab_size where it is 0.
// Throws Error(configuration) where the model's vocabulary is smaller than the corpora's,
// Error(data) where a corpus is damaged or two disagree in their tokenizer.
TrainingData open_training_data(RunConfig& config);
// The same on all ranks of a job, which must see the same tokens, wherever each finds them. What
// any of them finds wrong all throw, as an AgreedError. Collective.
TrainingData open_training_data(RunConfig& config, Communicator& ranks);

// Whether this machine has what the run is to be trained on, not counting random tokens.
bool corpora_are_here(const RunConfig& config);

// The tokenizer in a corpus folder or the folder around it (the training and validation part of one
// text share it there); none where neither has one.
std::optional<Tokenizer> find_tokenizer(const std::filesystem::path& corpus_folder);

}  // namespace dualpath
